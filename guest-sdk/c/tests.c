// Tests of the JSON reader and writer, on the machine itself: `guest-sdk/c/test`.
#include "terapi_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

static void check(bool right, const char *what, int line) {
    if (right) return;
    fprintf(stderr, "line %d: %s\n", line, what);
    failures++;
}
#define CHECK(condition) check(condition, #condition, __LINE__)

static bool rewritten(const char *source, const char *expected) {
    json_writer out = {0};
    json value = json_parse(text_of(source));
    if (!value.kind) return expected == NULL;
    json_write(&out, value);
    bool same = expected && text_equals(json_written(&out), expected);
    if (!same) fprintf(stderr, "%s became %.*s\n", source, (int)out.len, out.ptr);
    free(out.ptr);
    return same;
}

int main(void) {
    CHECK(rewritten(" { \"a\" : [ 1 , 2.50 , -0 , 1e5 ] , \"b\" : { } , \"c\" : [ ] } ", "{\"a\":[1,2.50,-0,1e5],\"b\":{},\"c\":[]}"));
    CHECK(rewritten("9007199254740993", "9007199254740993"));
    CHECK(rewritten("\"\\u00e9\\ud83e\\udd80\\/\\u0000\\u001F\\n\\\"\\\\\"", "\"é🦀/\\u0000\\u001f\\n\\\"\\\\\""));
    CHECK(rewritten("\"\\ud83e\"", "\"\xef\xbf\xbd\""));
    CHECK(rewritten("[\"a\",{\"b\":\"c:d\"},\"e\",5,[\"x\"],null,true,false]", "[\"a\",{\"b\":\"c:d\"},\"e\",5,[\"x\"],null,true,false]"));
    CHECK(rewritten("{\"a\":\"b\",\"c\":[\"d\"],\"e\":{\"f\":\"g\"},\"h\":1}", "{\"a\":\"b\",\"c\":[\"d\"],\"e\":{\"f\":\"g\"},\"h\":1}"));
    CHECK(rewritten("{\"\\u0061\\n\":1}", "{\"a\\n\":1}"));
    const char *const wrong[] = {"", "{", "[1,]", "{\"a\"}", "{\"a\":1,}", "01", "1.", "-", "+1", "nul", "\"", "\"\\x\"", "\"\\u12\"", "\"\n\"", "1 2",
                                 "[1 2]", "{1:2}", "\"\\", "1e", ".5", "tru", "[", "]"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!rewritten(wrong[i], NULL)) fprintf(stderr, "taken for JSON: %s\n", wrong[i]), failures++;

    char deep[200] = {0};
    memset(deep, '[', 64), memset(deep + 64, ']', 64);
    CHECK(json_parse(text_of(deep)).kind == JSON_ARRAY);
    memset(deep, '[', 65), memset(deep + 65, ']', 65);
    CHECK(json_parse(text_of(deep)).kind == JSON_NONE);

    json page = json_parse(text_of("{\"data\":{\"items\":[{\"id\":7,\"na\\u006de\":\"x\"},{\"id\":\"8\"}]},\"n\":null,\"t\":true}"));
    CHECK(json_integer(json_at(page, "data.items.0.id"), 0) == 7);
    CHECK(text_equals(json_text(json_at(page, "data.items.0.name")), "x"));
    CHECK(text_equals(json_text(json_at(page, "data.items.1.id")), "8"));
    CHECK(!json_at(page, "data.items.2.id").kind && !json_at(page, "data.none.id").kind);
    CHECK(!json_has(json_get(page, "n")) && json_get(page, "n").kind == JSON_NULL);
    CHECK(json_count(page) == 3 && json_count(json_at(page, "data.items")) == 2);
    CHECK(json_integer(json_parse(text_of("9223372036854775807")), 1) == INT64_MAX);
    CHECK(json_integer(json_parse(text_of("-9223372036854775808")), 1) == INT64_MIN);
    CHECK(json_integer(json_parse(text_of("9223372036854775808")), 1) == 1);
    CHECK(json_integer(json_parse(text_of("1.5")), 1) == 1);
    json member = json_next(json_first(page));
    CHECK(text_equals(json_key(member), "n"));

    text made = json_text(json_at(page, "data.items.0.name"));
    json before = json_parse(text_of("{\"k\":\"\\u0078\"}"));
    terapi_scratch_keep();
    json_parse(text_of("[1]"));
    terapi_scratch_clear();
    CHECK(text_equals(made, "x") && text_equals(json_text(json_get(before, "k")), "x"));

    json_writer out = {0};
    json_begin_object(&out);
    json_put_text(&out, "a", text_of("x\ty"));
    json_put_integer(&out, "b", INT64_MIN);
    json_name(&out, "c");
    json_begin_array(&out);
    json_write_bool(&out, true), json_write_null(&out);
    json_end_array(&out);
    json_end_object(&out);
    CHECK(text_equals(json_written(&out), "{\"a\":\"x\\ty\",\"b\":-9223372036854775808,\"c\":[true,null]}"));

    printf(failures ? "%d failed\n" : "ok\n", failures);
    return failures != 0;
}
