#include "terapi_sdk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// The most entries that the host takes in one call.
#define BATCH_ENTRIES 1000
/// A batch is sent once its JSON is this long: beyond some hundred records a larger one saves nothing.
#define BATCH_BYTES (1 << 20)
/// Tries after the first for a GET: with the host's doubling waits this bridges short outages.
#define RETRIES 3
#define REDIRECTS 5
/// How much of a failed answer's body an error shows.
#define EXCERPT 512

static terapi_string_t borrowed(text value) { return (terapi_string_t){(uint8_t *)value.ptr, value.len}; }
static terapi_string_t borrowed_of(const char *value) { return borrowed(text_of(value)); }
static text text_from(terapi_string_t value) { return (text){(const char *)value.ptr, value.len}; }

/// A copy that the bindings free.
static terapi_string_t given(const char *value) {
    terapi_string_t copy;
    terapi_string_dup(&copy, value ? value : "");
    return copy;
}

/// A text of the host that stays until the page's end.
static text kept(terapi_string_t value) {
    char *copy = terapi_scratch(value.len + 1);
    memcpy(copy, value.ptr, value.len);
    copy[value.len] = 0;
    text result = {copy, value.len};
    terapi_string_free(&value);
    return result;
}

// --- failing

static struct {
    char message[4096];
    char *details;
    size_t details_len;
    bool for_now;
    uint64_t retry_after_ms;
} failure;

static bool fail(bool for_now, const char *format, va_list arguments) {
    vsnprintf(failure.message, sizeof failure.message, format, arguments);
    failure.for_now = for_now;
    return false;
}

bool terapi_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(false, format, arguments);
    va_end(arguments);
    return false;
}

bool terapi_fail_for_now(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(true, format, arguments);
    va_end(arguments);
    return false;
}

void terapi_fail_details(text details) {
    free(failure.details);
    failure.details = malloc(details.len ? details.len : 1);
    if (!failure.details) abort();
    memcpy(failure.details, details.ptr, details.len);
    failure.details_len = details.len;
}

text terapi_failure(void) { return text_of(failure.message); }

static const char *budget(uint8_t which) {
    static const char *const names[] = {"http-requests", "http-bytes", "records", "record-bytes", "log-bytes", "state-bytes"};
    return which < 6 ? names[which] : "?";
}

static bool fail_exhausted(const char *doing, uint8_t which) {
    return terapi_fail("%s: this run used up its budget (%s): do less in a run, or raise the limit", doing, budget(which));
}

static bool fail_http(const char *method, const char *url, terapi_sync_http_error_t *error) {
    char doing[512];
    snprintf(doing, sizeof doing, "%s %.*s", method, (int)strcspn(url, "?"), url);
    switch (error->tag) {
        case TERAPI_SYNC_HTTP_ERROR_INVALID_REQUEST:
            return terapi_fail("%s: not a valid request: %.*s", doing, (int)error->val.denied.len, (char *)error->val.denied.ptr);
        case TERAPI_SYNC_HTTP_ERROR_DENIED:
            return terapi_fail("%s: denied: %.*s", doing, (int)error->val.denied.len, (char *)error->val.denied.ptr);
        case TERAPI_SYNC_HTTP_ERROR_TIMED_OUT: return terapi_fail_for_now("%s: no complete answer within the time", doing);
        case TERAPI_SYNC_HTTP_ERROR_BODY_TOO_LARGE:
            return terapi_fail("%s: the answer is over %llu bytes: ask for smaller pages", doing,
                               (unsigned long long)error->val.body_too_large);
        case TERAPI_SYNC_HTTP_ERROR_TRANSPORT:
            return terapi_fail_for_now("%s: %.*s", doing, (int)error->val.transport.len, (char *)error->val.transport.ptr);
        default: return fail_exhausted(doing, error->val.exhausted);
    }
}

static bool fail_records(const char *doing, const char *model, terapi_sync_records_error_t *error) {
    char what[256];
    snprintf(what, sizeof what, "%s %s", doing, model);
    terapi_string_t reason = error->val.not_allowed;
    switch (error->tag) {
        case TERAPI_SYNC_RECORDS_ERROR_UNKNOWN_MODEL: return terapi_fail("%s: terapi_script has no such model", what);
        case TERAPI_SYNC_RECORDS_ERROR_INVALID:
            return terapi_fail("%s: entry %u: %.*s", what, error->val.invalid.f0, (int)error->val.invalid.f1.len,
                               (char *)error->val.invalid.f1.ptr);
        case TERAPI_SYNC_RECORDS_ERROR_EXHAUSTED: return fail_exhausted(what, error->val.exhausted);
        case TERAPI_SYNC_RECORDS_ERROR_LEASE_LOST: return terapi_fail_for_now("%s: another run took over this sync", what);
        case TERAPI_SYNC_RECORDS_ERROR_STORAGE: return terapi_fail_for_now("%s: %.*s", what, (int)reason.len, (char *)reason.ptr);
        default: return terapi_fail("%s: %.*s", what, (int)reason.len, (char *)reason.ptr);
    }
}

static bool fail_state(const char *doing, terapi_sync_state_error_t *error) {
    terapi_string_t reason = error->val.invalid;
    switch (error->tag) {
        case TERAPI_SYNC_STATE_ERROR_EXHAUSTED: return fail_exhausted(doing, error->val.exhausted);
        case TERAPI_SYNC_STATE_ERROR_LEASE_LOST: return terapi_fail_for_now("%s: another run took over this sync", doing);
        case TERAPI_SYNC_STATE_ERROR_STORAGE: return terapi_fail_for_now("%s: %.*s", doing, (int)reason.len, (char *)reason.ptr);
        default: return terapi_fail("%s: %.*s", doing, (int)reason.len, (char *)reason.ptr);
    }
}

// --- requests

terapi_request terapi_request_of(const char *method, const char *url) {
    return (terapi_request){.method = method, .url = text_of(url), .retries = strcmp(method, "GET") == 0 ? RETRIES : 0};
}

static void pair(terapi_tuple2_string_string_t *pairs, size_t *count, const char *name, const char *value) {
    if (*count == 32) abort();
    pairs[(*count)++] = (terapi_tuple2_string_string_t){borrowed_of(name), borrowed_of(value)};
}

void terapi_query(terapi_request *request, const char *name, const char *value) {
    pair(request->query, &request->query_count, name, value);
}

void terapi_header(terapi_request *request, const char *name, const char *value) {
    pair(request->headers, &request->header_count, name, value);
}

void terapi_body_json(terapi_request *request, text body) {
    terapi_header(request, "content-type", "application/json");
    request->body = body;
    request->has_body = true;
}

static terapi_sync_http_request_t in_contract(terapi_request *request) {
    return (terapi_sync_http_request_t){
        .method = borrowed_of(request->method),
        .url = borrowed(request->url),
        .headers = {request->headers, request->header_count},
        .query = {request->query, request->query_count},
        .body = {request->has_body, {(uint8_t *)request->body.ptr, request->body.len}},
        .timeout_ms = {request->timeout_ms != 0, request->timeout_ms},
        .retries = request->retries,
        .redirects = REDIRECTS,
    };
}

/// The answer that is at hand; the next one takes its place.
static terapi_sync_http_response_t held;

static void hold(terapi_sync_http_response_t *response, terapi_answer *answer) {
    terapi_sync_http_response_free(&held);
    held = *response;
    *answer = (terapi_answer){held.status, {(char *)held.body.ptr, held.body.len}, held.headers};
}

text terapi_answer_header(const terapi_answer *answer, const char *name) {
    for (size_t i = 0; i < answer->headers.len; i++)
        if (text_equals(text_from(answer->headers.ptr[i].f0), name)) return text_from(answer->headers.ptr[i].f1);
    return (text){"", 0};
}

static bool succeeded(const char *method, const char *url, const terapi_answer *answer) {
    if (answer->status < 400) return true;
    bool for_now = answer->status == 408 || answer->status == 425 || answer->status == 429 || answer->status >= 500;
    bool secret = answer->status == 401 || answer->status == 403;
    (for_now ? terapi_fail_for_now : terapi_fail)(
        "%s %.*s: status %u%s: %.*s", method, (int)strcspn(url, "?"), url, answer->status,
        secret ? " (check the connection's credential and its permissions)" : "",
        (int)(answer->body.len < EXCERPT ? answer->body.len : EXCERPT), answer->body.ptr);
    text wait = terapi_answer_header(answer, "retry-after");
    failure.retry_after_ms = 0;
    for (size_t i = 0; i < wait.len && i < 9 && wait.ptr[i] >= '0' && wait.ptr[i] <= '9'; i++)
        failure.retry_after_ms = failure.retry_after_ms * 10 + (uint64_t)(wait.ptr[i] - '0');
    failure.retry_after_ms *= 1000;
    return false;
}

bool terapi_send_any(terapi_request *request, terapi_answer *answer) {
    terapi_sync_http_request_t sent = in_contract(request);
    terapi_sync_http_response_t response;
    terapi_sync_http_error_t error;
    if (!terapi_sync_http_fetch(&sent, &response, &error)) return fail_http(request->method, request->url.ptr, &error);
    hold(&response, answer);
    return true;
}

bool terapi_send(terapi_request *request, terapi_answer *answer) {
    return terapi_send_any(request, answer) && succeeded(request->method, request->url.ptr, answer);
}

static terapi_pages start_pages(terapi_request *first, terapi_sync_http_next_page_t next, uint32_t ahead) {
    static bool one_before;
    if (!one_before) terapi_scratch_keep();
    one_before = true;
    terapi_pages pages = {.url = first->url.ptr};
    terapi_sync_http_request_t sent = in_contract(first);
    terapi_sync_http_error_t error;
    if (!terapi_sync_http_start_pages(&sent, &next, ahead, &pages.list, &error))
        pages.failed = !fail_http(first->method, first->url.ptr, &error);
    return pages;
}

terapi_pages terapi_pages_by_link(terapi_request *first, uint32_t ahead) {
    return start_pages(first, (terapi_sync_http_next_page_t){.tag = TERAPI_SYNC_HTTP_NEXT_PAGE_LINK}, ahead);
}

terapi_pages terapi_pages_by_count(terapi_request *first, const char *parameter, uint64_t from, uint64_t step, uint32_t ahead) {
    terapi_sync_http_next_page_t next = {.tag = TERAPI_SYNC_HTTP_NEXT_PAGE_COUNT};
    next.val.count = (terapi_sync_http_counter_t){borrowed_of(parameter), from, step};
    return start_pages(first, next, ahead);
}

bool terapi_next_page(terapi_pages *pages, terapi_answer *page) {
    if (pages->failed) return false;
    if (pages->begun) terapi_scratch_clear();
    pages->begun = true;
    terapi_sync_http_result_response_error_t result;
    if (!terapi_sync_http_take_page(pages->list, &result)) return false;
    if (result.is_err) {
        pages->failed = !fail_http("GET", pages->url, &result.val.err);
        return false;
    }
    hold(&result.val.ok, page);
    pages->failed = !succeeded("GET", pages->url, page);
    return !pages->failed;
}

void terapi_stop_pages(terapi_pages *pages) { terapi_sync_http_stop_pages(pages->list); }

// --- records

json_writer *terapi_record(terapi_batch *batch, text id) {
    if (batch->count == batch->room) {
        batch->room = batch->room ? batch->room * 2 : 128;
        batch->entries = realloc(batch->entries, batch->room * sizeof(*batch->entries));
    }
    if (batch->ids_room - batch->ids_len < id.len) {
        batch->ids_room = (batch->ids_len + id.len) * 2;
        batch->ids = realloc(batch->ids, batch->ids_room);
    }
    if (!batch->entries || (batch->ids_room && !batch->ids)) abort();
    if (id.len) memcpy(batch->ids + batch->ids_len, id.ptr, id.len);
    batch->entries[batch->count].id_at = batch->ids_len;
    batch->entries[batch->count].id_len = id.len;
    batch->entries[batch->count++].data_at = batch->out.len;
    batch->ids_len += id.len;
    batch->out.comma = false;
    json_begin_object(&batch->out);
    json_put_text(&batch->out, "id", id);
    return &batch->out;
}

typedef bool save(terapi_string_t *, terapi_sync_records_list_entry_t *, terapi_sync_records_save_summary_t *,
                  terapi_sync_records_error_t *);

static bool send_batch(terapi_batch *batch, save *function, const char *doing) {
    terapi_sync_records_entry_t *entries = malloc((batch->count ? batch->count : 1) * sizeof(*entries));
    if (!entries) abort();
    for (size_t i = 0; i < batch->count; i++) {
        size_t end = i + 1 < batch->count ? batch->entries[i + 1].data_at : batch->out.len;
        entries[i].id = (terapi_string_t){(uint8_t *)batch->ids + batch->entries[i].id_at, batch->entries[i].id_len};
        entries[i].data = (terapi_string_t){(uint8_t *)batch->out.ptr + batch->entries[i].data_at, end - batch->entries[i].data_at};
    }
    bool done = true;
    for (size_t from = 0; from < batch->count && done;) {
        size_t to = from, bytes = 0;
        while (to < batch->count && to - from < BATCH_ENTRIES && bytes < BATCH_BYTES) bytes += entries[to++].data.len;
        terapi_string_t model = borrowed_of(batch->model);
        terapi_sync_records_list_entry_t list = {entries + from, to - from};
        terapi_sync_records_save_summary_t summary;
        terapi_sync_records_error_t error;
        done = function(&model, &list, &summary, &error) || fail_records(doing, batch->model, &error);
        if (done) batch->added += summary.added, batch->updated += summary.updated, batch->unchanged += summary.unchanged;
        from = to;
    }
    free(entries);
    batch->count = batch->ids_len = 0;
    json_clear(&batch->out);
    return done;
}

bool terapi_batch_save(terapi_batch *batch) { return send_batch(batch, terapi_sync_records_batch_save, "saving"); }
bool terapi_batch_update(terapi_batch *batch) { return send_batch(batch, terapi_sync_records_batch_update, "updating"); }

bool terapi_batch_delete(const char *model, const text *ids, size_t count) {
    terapi_string_t name = borrowed_of(model), list[BATCH_ENTRIES];
    for (size_t from = 0; from < count; from += BATCH_ENTRIES) {
        size_t some = count - from < BATCH_ENTRIES ? count - from : BATCH_ENTRIES;
        for (size_t i = 0; i < some; i++) list[i] = borrowed(ids[from + i]);
        terapi_list_string_t sent = {list, some};
        uint32_t deleted;
        terapi_sync_records_error_t error;
        if (!terapi_sync_records_batch_delete(&name, &sent, &deleted, &error)) return fail_records("deleting", model, &error);
    }
    return true;
}

bool terapi_get_by_id(const char *model, text id, json *record) {
    terapi_string_t name = borrowed_of(model), wanted = borrowed(id);
    terapi_list_string_t ids = {&wanted, 1};
    terapi_sync_records_list_entry_t found;
    terapi_sync_records_error_t error;
    *record = (json){0};
    if (!terapi_sync_records_get_by_ids(&name, &ids, &found, &error)) return fail_records("reading", model, &error);
    if (found.len) {
        terapi_string_t data = found.ptr[0].data;
        found.ptr[0].data = (terapi_string_t){NULL, 0};
        *record = json_parse(kept(data));
    }
    terapi_sync_records_list_entry_free(&found);
    return true;
}

bool terapi_track_deletes_start(const char *model) {
    terapi_string_t name = borrowed_of(model);
    terapi_sync_records_error_t error;
    return terapi_sync_records_track_deletes_start(&name, &error) || fail_records("tracking deletes of", model, &error);
}

bool terapi_track_deletes_end(const char *model) {
    terapi_string_t name = borrowed_of(model);
    uint64_t deleted;
    terapi_sync_records_error_t error;
    return terapi_sync_records_track_deletes_end(&name, &deleted, &error) || fail_records("deleting what is gone of", model, &error);
}

// --- state

const char *terapi_last_sync_date(void) {
    static char date[32];
    uint64_t moment;
    if (!terapi_sync_state_last_sync_date(&moment)) return NULL;
    // Days to a date of the Gregorian calendar, the year beginning in March. Rounded down to a second, so that nothing is missed.
    uint64_t seconds = moment / 1000, days = seconds / 86400 + 719468, rest = seconds % 86400;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153, day = day_of_year - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    uint64_t year = era * 400 + year_of_era + (month <= 2);
    snprintf(date, sizeof date, "%04u-%02u-%02uT%02u:%02u:%02uZ", (unsigned)year, (unsigned)month, (unsigned)day,
             (unsigned)(rest / 3600), (unsigned)(rest / 60 % 60), (unsigned)(rest % 60));
    return date;
}

json terapi_checkpoint(void) {
    terapi_string_t value;
    return terapi_sync_state_checkpoint(&value) ? json_parse(kept(value)) : (json){0};
}

bool terapi_save_checkpoint(text object) {
    terapi_string_t value = borrowed(object);
    terapi_sync_state_error_t error;
    return terapi_sync_state_save_checkpoint(&value, &error) || fail_state("saving the checkpoint", &error);
}

bool terapi_clear_checkpoint(void) {
    terapi_sync_state_error_t error;
    return terapi_sync_state_clear_checkpoint(&error) || fail_state("clearing the checkpoint", &error);
}

json terapi_metadata(void) {
    terapi_string_t value;
    terapi_sync_state_metadata(&value);
    return json_parse(kept(value));
}

bool terapi_set_metadata(text object) {
    terapi_string_t value = borrowed(object);
    terapi_sync_state_error_t error;
    return terapi_sync_state_set_metadata(&value, &error) || fail_state("saving the connection's metadata", &error);
}

bool terapi_update_metadata(text fields) {
    terapi_string_t value = borrowed(fields);
    terapi_sync_state_error_t error;
    return terapi_sync_state_update_metadata(&value, &error) || fail_state("updating the connection's metadata", &error);
}

json terapi_connection(void) {
    terapi_string_t value;
    terapi_sync_state_connection(&value);
    return json_parse(kept(value));
}

// --- log

void terapi_log(terapi_level level, const char *format, ...) {
    char message[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    terapi_string_t said = borrowed_of(message);
    terapi_sync_log_log((uint8_t)level, &said, NULL);
}

// --- what the host calls

/// The bindings want to be linked with a description of their world; `terapi componentize` adds it instead.
void __component_type_object_force_link_terapi(void) {}

static terapi_sync_types_list_model_t models(void) {
    size_t count = 0;
    while (count < 8 && terapi_script.models[count].name) count++;
    terapi_sync_types_model_t *list = calloc(count ? count : 1, sizeof(*list));
    if (!list) abort();
    for (size_t i = 0; i < count; i++) {
        const terapi_model *model = &terapi_script.models[i];
        size_t ignored = 0;
        while (model->ignore && model->ignore[ignored]) ignored++;
        list[i].name = given(model->name);
        list[i].schema = given(model->schema);
        list[i].ignore = (terapi_list_string_t){ignored ? calloc(ignored, sizeof(terapi_string_t)) : NULL, ignored};
        for (size_t j = 0; j < ignored; j++) list[i].ignore.ptr[j] = given(model->ignore[j]);
    }
    return (terapi_sync_types_list_model_t){count ? list : NULL, count};
}

static terapi_list_string_t hosts(void) {
    size_t count = 0;
    while (count < 8 && terapi_script.hosts[count]) count++;
    terapi_string_t *list = count ? calloc(count, sizeof(*list)) : NULL;
    for (size_t i = 0; i < count; i++) list[i] = given(terapi_script.hosts[i]);
    return (terapi_list_string_t){list, count};
}

#define MAYBE(value) {(value) != NULL, (value) ? given(value) : (terapi_string_t){NULL, 0}}

static terapi_context context_of(terapi_sync_types_context_t *context) {
    return (terapi_context){text_from(context->run_id), text_from(context->connection), text_from(context->variant),
                            json_parse(text_from(context->config))};
}

static void failed(terapi_sync_types_failure_t *out) {
    *out = (terapi_sync_types_failure_t){
        .kind = failure.for_now ? TERAPI_SYNC_TYPES_FAILURE_KIND_TRANSIENT : TERAPI_SYNC_TYPES_FAILURE_KIND_PERMANENT,
        .message = given(*failure.message ? failure.message : "the script failed without saying why"),
        .retry_after_ms = {failure.retry_after_ms != 0, failure.retry_after_ms},
    };
    if (failure.details) {
        out->details.is_some = true;
        terapi_string_dup_n(&out->details.val, failure.details, failure.details_len);
    }
}

#ifdef TERAPI_ACTION

void exports_terapi_sync_action_script_describe(exports_terapi_sync_action_script_action_manifest_t *out) {
    *out = (exports_terapi_sync_action_script_action_manifest_t){
        .name = given(terapi_script.name),
        .version = given(terapi_script.version ? terapi_script.version : "1.0.0"),
        .description = given(terapi_script.description),
        .input_schema = MAYBE(terapi_script.input_schema),
        .output_schema = MAYBE(terapi_script.output_schema),
        .models = models(),
        .base_url = MAYBE(terapi_script.base_url),
        .hosts = hosts(),
        .config_schema = MAYBE(terapi_script.config_schema),
        .metadata_schema = MAYBE(terapi_script.metadata_schema),
    };
}

bool exports_terapi_sync_action_script_run(exports_terapi_sync_action_script_context_t *context,
                                           exports_terapi_sync_action_script_json_t *input,
                                           exports_terapi_sync_action_script_json_t *output,
                                           exports_terapi_sync_action_script_failure_t *error) {
    terapi_context run = context_of(context);
    json_writer written = {0};
    if (!terapi_action_run(&run, json_parse(text_from(*input)), &written)) {
        failed(error);
        return false;
    }
    terapi_string_dup_n(output, written.len ? written.ptr : "null", written.len ? written.len : 4);
    return true;
}

#else

void exports_terapi_sync_sync_script_describe(exports_terapi_sync_sync_script_sync_manifest_t *out) {
    *out = (exports_terapi_sync_sync_script_sync_manifest_t){
        .name = given(terapi_script.name),
        .version = given(terapi_script.version ? terapi_script.version : "1.0.0"),
        .description = given(terapi_script.description),
        .mode = terapi_script.full_refresh ? TERAPI_SYNC_TYPES_SYNC_MODE_FULL_REFRESH : TERAPI_SYNC_TYPES_SYNC_MODE_INCREMENTAL,
        .models = models(),
        .frequency = MAYBE(terapi_script.frequency),
        .auto_start = !terapi_script.manual_start,
        .base_url = MAYBE(terapi_script.base_url),
        .hosts = hosts(),
        .config_schema = MAYBE(terapi_script.config_schema),
        .metadata_schema = MAYBE(terapi_script.metadata_schema),
    };
}

bool exports_terapi_sync_sync_script_run(exports_terapi_sync_sync_script_context_t *context,
                                         exports_terapi_sync_sync_script_failure_t *error) {
    terapi_context run = context_of(context);
    if (terapi_sync_run(&run)) return true;
    failed(error);
    return false;
}

#endif
