/* Included before everything of QuickJS.
 *
 * QuickJS watches its depth by the address of a frame in linear memory. WebAssembly keeps most of a frame elsewhere, on a
 * stack of the host's that nobody inside can see: a function that recurses without an array of its own takes nothing of the
 * one and hundreds of bytes of the other. So each function that looks at its depth takes at least so many bytes here, and
 * the one stack bounds the other; how much of the host's that makes at most is measured, see STACK in src/engine.rs. */
#define __builtin_frame_address(level) \
    ({ volatile char room[96]; room[0] = 0; (__UINTPTR_TYPE__)room; })
