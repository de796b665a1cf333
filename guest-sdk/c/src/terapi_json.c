#include "terapi_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// As the contract has it.
#define MAX_DEPTH 64

/// A value: where it stands, and which token follows what it contains. A key is the token before its value.
typedef struct {
    uint32_t start, length, next;
    uint8_t kind;
} token;

typedef struct json_document {
    text source;
    token *tokens;
    uint32_t count, room;
} json_document;

static const json nothing = {0};

text text_of(const char *zero_terminated) { return (text){zero_terminated, strlen(zero_terminated)}; }

bool text_equals(text a, const char *b) { return strlen(b) == a.len && memcmp(a.ptr, b, a.len) == 0; }

// --- memory that ends with the page

typedef struct block {
    struct block *before;
    size_t used, room;
    _Alignas(8) char bytes[];
} block;

static block *blocks;
/// Parsed texts, whose tokens grow and so lie on the heap.
static json_document **documents;
static size_t document_count, document_room, kept_documents;

void *terapi_scratch(size_t size) {
    size = (size + 7) & ~(size_t)7;
    if (!blocks || blocks->room - blocks->used < size) {
        size_t room = size > 65536 ? size : 65536;
        block *fresh = malloc(sizeof(block) + room);
        if (!fresh) abort();
        fresh->before = blocks, fresh->used = 0, fresh->room = room;
        blocks = fresh;
    }
    void *memory = blocks->bytes + blocks->used;
    blocks->used += size;
    return memory;
}

void terapi_scratch_clear(void) {
    while (blocks && blocks->before) {
        block *before = blocks->before;
        free(blocks);
        blocks = before;
    }
    if (blocks) blocks->used = 0;
    for (size_t i = kept_documents; i < document_count; i++) {
        free(documents[i]->tokens);
        free(documents[i]);
    }
    document_count = kept_documents;
}

void terapi_scratch_keep(void) {
    blocks = NULL;
    kept_documents = document_count;
}

// --- reading

typedef struct {
    json_document *document;
    const char *at, *end;
} parser;

static void skip_space(parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')) p->at++;
}

static uint32_t push(parser *p, json_kind kind) {
    json_document *d = p->document;
    if (d->count == d->room) {
        d->room = d->room ? d->room * 2 : 256;
        d->tokens = realloc(d->tokens, d->room * sizeof(token));
        if (!d->tokens) abort();
    }
    d->tokens[d->count] = (token){(uint32_t)(p->at - d->source.ptr), 0, 0, (uint8_t)kind};
    return d->count++;
}

static void finish(parser *p, uint32_t index) {
    token *t = &p->document->tokens[index];
    t->length = (uint32_t)(p->at - p->document->source.ptr) - t->start;
    t->next = p->document->count;
}

static bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

static bool string(parser *p) {
    uint32_t index = push(p, JSON_STRING);
    for (p->at++; p->at < p->end; p->at++) {
        unsigned char c = (unsigned char)*p->at;
        if (c == '"') {
            p->at++;
            finish(p, index);
            return true;
        }
        if (c < 0x20) return false;
        if (c != '\\') continue;
        if (++p->at == p->end) return false;
        if (*p->at == 'u') {
            if (p->end - p->at < 5) return false;
            for (int i = 0; i < 4; i++)
                if (!is_hex(*++p->at)) return false;
        } else if (!strchr("\"\\/bfnrt", *p->at) || !*p->at) {
            return false;
        }
    }
    return false;
}

static bool digits(parser *p) {
    const char *start = p->at;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
    return p->at > start;
}

static bool number(parser *p) {
    uint32_t index = push(p, JSON_NUMBER);
    if (*p->at == '-') p->at++;
    if (p->at < p->end && *p->at == '0') p->at++;
    else if (!digits(p)) return false;
    if (p->at < p->end && *p->at == '.' && (p->at++, !digits(p))) return false;
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!digits(p)) return false;
    }
    finish(p, index);
    return true;
}

static bool word(parser *p, json_kind kind, const char *spelling) {
    size_t length = strlen(spelling);
    if ((size_t)(p->end - p->at) < length || memcmp(p->at, spelling, length) != 0) return false;
    uint32_t index = push(p, kind);
    p->at += length;
    finish(p, index);
    return true;
}

static bool value(parser *p, int depth);

static bool container(parser *p, int depth, json_kind kind, char close) {
    if (depth == MAX_DEPTH) return false;
    uint32_t index = push(p, kind);
    p->at++;
    for (bool first = true;; first = false) {
        skip_space(p);
        if (p->at == p->end) return false;
        if (*p->at == close && first) break;
        if (kind == JSON_OBJECT) {
            if (*p->at != '"' || !string(p)) return false;
            skip_space(p);
            if (p->at == p->end || *p->at++ != ':') return false;
            skip_space(p);
        }
        if (!value(p, depth + 1)) return false;
        skip_space(p);
        if (p->at == p->end) return false;
        if (*p->at == close) break;
        if (*p->at++ != ',') return false;
    }
    p->at++;
    finish(p, index);
    return true;
}

static bool value(parser *p, int depth) {
    if (p->at == p->end) return false;
    switch (*p->at) {
        case '{': return container(p, depth, JSON_OBJECT, '}');
        case '[': return container(p, depth, JSON_ARRAY, ']');
        case '"': return string(p);
        case 't': return word(p, JSON_TRUE, "true");
        case 'f': return word(p, JSON_FALSE, "false");
        case 'n': return word(p, JSON_NULL, "null");
        default: return (*p->at == '-' || (*p->at >= '0' && *p->at <= '9')) && number(p);
    }
}

static json place(const json_document *document, uint32_t index, uint32_t end) {
    return (json){document, index, end, (json_kind)document->tokens[index].kind};
}

json json_parse(text source) {
    if (source.len >= UINT32_MAX) return nothing;
    json_document *document = calloc(1, sizeof(json_document));
    if (!document) abort();
    if (document_count == document_room) {
        document_room = document_room ? document_room * 2 : 8;
        documents = realloc(documents, document_room * sizeof(*documents));
        if (!documents) abort();
    }
    documents[document_count++] = document;
    document->source = source;
    parser p = {document, source.ptr, source.ptr + source.len};
    skip_space(&p);
    if (!value(&p, 0)) return nothing;
    skip_space(&p);
    return p.at == p.end ? place(document, 0, document->count) : nothing;
}

static const token *token_of(json value) { return &value.document->tokens[value.token]; }

json json_first(json container) {
    if (container.kind != JSON_ARRAY && container.kind != JSON_OBJECT) return nothing;
    uint32_t first = container.token + (container.kind == JSON_OBJECT ? 2 : 1), end = token_of(container)->next;
    if (container.token + 1 >= end) return nothing;
    return place(container.document, first, end);
}

/// The token of the key of a value, if it is an object's member: between them stands only a colon.
static const token *key_of(json value) {
    if (!value.kind || value.token == 0) return NULL;
    const token *before = token_of(value) - 1;
    if (before->kind != JSON_STRING) return NULL;
    const char *source = value.document->source.ptr;
    for (uint32_t at = before->start + before->length; at < token_of(value)->start; at++)
        if (source[at] == ':') return before;
    return NULL;
}

json json_next(json value) {
    if (!value.kind) return nothing;
    uint32_t next = token_of(value)->next;
    if (next >= value.end) return nothing;
    return place(value.document, next + (key_of(value) ? 1 : 0), value.end);
}

static text unescaped(const json_document *document, const token *t);

text json_key(json value) {
    const token *key = key_of(value);
    return key ? unescaped(value.document, key) : (text){0};
}

size_t json_count(json container) {
    size_t count = 0;
    for (json item = json_first(container); item.kind; item = json_next(item)) count++;
    return count;
}

json json_get(json object, const char *key) {
    if (object.kind != JSON_OBJECT) return nothing;
    size_t length = strlen(key);
    const json_document *document = object.document;
    uint32_t end = token_of(object)->next;
    for (uint32_t at = object.token + 1; at < end; at = document->tokens[at + 1].next) {
        const token *name = &document->tokens[at];
        const char *raw = document->source.ptr + name->start + 1;
        size_t raw_length = name->length - 2;
        bool same = raw_length == length && memcmp(raw, key, length) == 0;
        if (!same && raw_length > length && memchr(raw, '\\', raw_length)) same = text_equals(unescaped(document, name), key);
        if (same) return place(document, at + 1, end);
    }
    return nothing;
}

json json_at(json value, const char *path) {
    char key[256];
    while (value.kind && *path) {
        size_t length = strcspn(path, ".");
        if (length >= sizeof key) return nothing;
        memcpy(key, path, length);
        key[length] = 0;
        if (value.kind == JSON_ARRAY) {
            char *rest;
            unsigned long index = strtoul(key, &rest, 10);
            if (*rest || !length) return nothing;
            value = json_first(value);
            while (index-- && value.kind) value = json_next(value);
        } else {
            value = json_get(value, key);
        }
        path += length + (path[length] == '.');
    }
    return value;
}

static uint32_t hex4(const char *at) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        code = code * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return code;
}

static char *utf8(char *out, uint32_t code) {
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

static text unescaped(const json_document *document, const token *t) {
    const char *at = document->source.ptr + t->start + 1, *end = at + t->length - 2;
    if (!memchr(at, '\\', (size_t)(end - at))) return (text){at, (size_t)(end - at)};
    char *start = terapi_scratch((size_t)(end - at)), *out = start;
    while (at < end) {
        if (*at != '\\') {
            *out++ = *at++;
            continue;
        }
        at += 2;
        switch (at[-1]) {
            case 'b': *out++ = '\b'; break;
            case 'f': *out++ = '\f'; break;
            case 'n': *out++ = '\n'; break;
            case 'r': *out++ = '\r'; break;
            case 't': *out++ = '\t'; break;
            case 'u': {
                uint32_t code = hex4(at);
                at += 4;
                if (code >= 0xd800 && code < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
                    uint32_t low = hex4(at + 2);
                    if (low >= 0xdc00 && low < 0xe000) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                        at += 6;
                    }
                }
                // Half a pair is no character.
                out = utf8(out, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
                break;
            }
            default: *out++ = at[-1];
        }
    }
    return (text){start, (size_t)(out - start)};
}

text json_text(json value) {
    if (!value.kind || value.kind == JSON_NULL) return (text){"", 0};
    return value.kind == JSON_STRING ? unescaped(value.document, token_of(value)) : json_source(value);
}

text json_source(json value) {
    if (!value.kind) return (text){"", 0};
    const token *t = token_of(value);
    return (text){value.document->source.ptr + t->start, t->length};
}

int64_t json_integer(json value, int64_t otherwise) {
    text source = json_source(value);
    if (value.kind != JSON_NUMBER || source.len > 20) return otherwise;
    bool negative = *source.ptr == '-';
    uint64_t sum = 0, limit = (uint64_t)INT64_MAX + negative;
    for (size_t i = negative; i < source.len; i++) {
        if (source.ptr[i] < '0' || source.ptr[i] > '9') return otherwise;
        unsigned digit = (unsigned)(source.ptr[i] - '0');
        if (sum > (limit - digit) / 10) return otherwise;
        sum = sum * 10 + digit;
    }
    return negative ? (int64_t)(0 - sum) : (int64_t)sum;
}

bool json_has(json value) { return value.kind > JSON_NULL; }

// --- writing

static void put(json_writer *out, const char *bytes, size_t count) {
    if (out->room - out->len < count) {
        out->room = (out->len + count) * 2;
        if (out->room < 4096) out->room = 4096;
        out->ptr = realloc(out->ptr, out->room);
        if (!out->ptr) abort();
    }
    memcpy(out->ptr + out->len, bytes, count);
    out->len += count;
}

static void begin_value(json_writer *out) {
    if (out->comma) put(out, ",", 1);
    out->comma = true;
}

static void begin(json_writer *out, const char *open) {
    begin_value(out);
    put(out, open, 1);
    out->comma = false;
}

static void end(json_writer *out, const char *close) {
    put(out, close, 1);
    out->comma = true;
}

void json_begin_object(json_writer *out) { begin(out, "{"); }
void json_end_object(json_writer *out) { end(out, "}"); }
void json_begin_array(json_writer *out) { begin(out, "["); }
void json_end_array(json_writer *out) { end(out, "]"); }

static void quoted(json_writer *out, text value) {
    put(out, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        put(out, value.ptr + from, i - from);
        from = i + 1;
        const char *found = c ? strchr("\bb\ff\nn\rr\tt", c) : NULL;
        char escape[7] = {'\\', c >= 0x20 ? (char)c : found ? found[1] : 0};
        if (escape[1]) {
            put(out, escape, 2);
        } else {
            snprintf(escape, sizeof escape, "\\u%04x", c);
            put(out, escape, 6);
        }
    }
    put(out, value.ptr + from, value.len - from);
    put(out, "\"", 1);
}

void json_name(json_writer *out, const char *name) {
    begin_value(out);
    quoted(out, text_of(name));
    put(out, ":", 1);
    out->comma = false;
}

void json_write_text(json_writer *out, text value) {
    begin_value(out);
    quoted(out, value);
}

void json_write_integer(json_writer *out, int64_t value) {
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%lld", (long long)value);
    begin_value(out);
    put(out, digits, (size_t)count);
}

void json_write_bool(json_writer *out, bool value) {
    begin_value(out);
    put(out, value ? "true" : "false", value ? 4 : 5);
}

void json_write_null(json_writer *out) {
    begin_value(out);
    put(out, "null", 4);
}

void json_write(json_writer *out, json value) {
    switch (value.kind) {
        case JSON_NONE: json_write_null(out); break;
        case JSON_STRING: json_write_text(out, json_text(value)); break;
        case JSON_ARRAY:
            json_begin_array(out);
            for (json item = json_first(value); item.kind; item = json_next(item)) json_write(out, item);
            json_end_array(out);
            break;
        case JSON_OBJECT:
            json_begin_object(out);
            for (json item = json_first(value); item.kind; item = json_next(item)) {
                begin_value(out);
                quoted(out, json_key(item));
                put(out, ":", 1);
                out->comma = false;
                json_write(out, item);
            }
            json_end_object(out);
            break;
        default: {
            text source = json_source(value);
            begin_value(out);
            put(out, source.ptr, source.len);
        }
    }
}

void json_put_text(json_writer *out, const char *name, text value) { json_name(out, name), json_write_text(out, value); }
void json_put_integer(json_writer *out, const char *name, int64_t value) { json_name(out, name), json_write_integer(out, value); }
void json_put_bool(json_writer *out, const char *name, bool value) { json_name(out, name), json_write_bool(out, value); }
void json_put(json_writer *out, const char *name, json value) { json_name(out, name), json_write(out, value); }

text json_written(const json_writer *out) { return (text){out->ptr, out->len}; }

void json_clear(json_writer *out) { out->len = 0, out->comma = false; }
