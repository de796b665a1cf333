/// JSON for scripts: a reader that copies nothing until it is asked to, and a writer.
///
/// A text is checked once, by `json_parse`; after that a `json` is a place in it. What does not exist is a `json` of the
/// kind JSON_NONE, on which every function is harmless, so a chain of them needs one check at its end. Numbers keep their text:
/// 9007199254740993 comes out as it went in.
#ifndef TERAPI_JSON_H
#define TERAPI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Bytes that belong to somebody else. UTF-8 where they are text; no zero at the end.
typedef struct {
    const char *ptr;
    size_t len;
} text;

/// A text of a literal or of a C string.
text text_of(const char *zero_terminated);
bool text_equals(text a, const char *b);

typedef enum { JSON_NONE, JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_kind;

struct json_document;

/// A value in a text.
typedef struct {
    const struct json_document *document;
    uint32_t token, end;
    json_kind kind;
} json;

/// Reads a text, which must stay where it is. JSON_NONE if it is no JSON (RFC 8259, at most 64 levels).
json json_parse(text source);

/// The member of an object. JSON_NONE if there is none.
json json_get(json object, const char *key);
/// What stands at a path such as "data.items.0.id". Keys with a dot need json_get.
json json_at(json value, const char *path);

/// Walks an array, or the values of an object:
///     for (json item = json_first(list); item.kind; item = json_next(item)) …
json json_first(json container);
json json_next(json value);
/// The key of a value that json_first or json_next gave of an object.
text json_key(json value);
/// How many items an array has, or members an object.
size_t json_count(json container);

/// A string's text with its escapes resolved, any other value's own text (`12`, `true`); empty for JSON_NONE and null.
/// Lives until the next page, or the end of the run.
text json_text(json value);
/// A value as it stands in the source.
text json_source(json value);
/// A number that fits, else `otherwise`.
int64_t json_integer(json value, int64_t otherwise);
/// Neither JSON_NONE nor null.
bool json_has(json value);

/// Writes JSON without white space. Commas come by themselves.
typedef struct {
    char *ptr;
    size_t len, room;
    bool comma;
} json_writer;

void json_begin_object(json_writer *out);
void json_end_object(json_writer *out);
void json_begin_array(json_writer *out);
void json_end_array(json_writer *out);
/// The name of the next value.
void json_name(json_writer *out, const char *name);
void json_write_text(json_writer *out, text value);
void json_write_integer(json_writer *out, int64_t value);
void json_write_bool(json_writer *out, bool value);
void json_write_null(json_writer *out);
/// Writes a value that was read, spelled anew: no white space, only necessary escapes. JSON_NONE is null.
void json_write(json_writer *out, json value);

/// `json_name`, then the value.
void json_put_text(json_writer *out, const char *name, text value);
void json_put_integer(json_writer *out, const char *name, int64_t value);
void json_put_bool(json_writer *out, const char *name, bool value);
void json_put(json_writer *out, const char *name, json value);

/// What was written, until more is.
text json_written(const json_writer *out);
void json_clear(json_writer *out);

/// Memory that lives until `terapi_scratch_clear`, which `terapi_next_page` calls.
void *terapi_scratch(size_t size);
void terapi_scratch_clear(void);
/// What was parsed and made so far stays until the end of the run. What a script makes before its first list of pages does so
/// by itself, and so does its configuration.
void terapi_scratch_keep(void);

#endif
