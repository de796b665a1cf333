/// Terapi scripts in C: a thin layer over the generated bindings (bindings/), with JSON beside it (terapi_json.h).
///
/// A sync defines `terapi_script` and `terapi_sync_run`, an action `terapi_script` and `terapi_action_run` (compiled with
/// -DTERAPI_ACTION). What can fail returns false, and why is kept: return false too, and the run fails with that reason.
#ifndef TERAPI_SDK_H
#define TERAPI_SDK_H

#ifdef TERAPI_ACTION
#include "../bindings/action/terapi.h"
#else
#include "../bindings/sync/terapi.h"
#endif
#include "terapi_json.h"

/// A named kind of record, and its JSON Schema.
typedef struct {
    const char *name, *schema;
    /// Fields whose change alone is no change; ends with NULL. May be absent.
    const char *const *ignore;
} terapi_model;

/// What the script says of itself, once, at upload. What is left out is not said.
typedef struct {
    const char *name, *version, *description;
    /// A sync: each run saves everything, and what it did not save is deleted. Else it saves what changed.
    bool full_refresh;
    /// Ends with one that has no name.
    terapi_model models[8];
    const char *frequency, *base_url;
    /// Ends with NULL.
    const char *hosts[8];
    /// Not a sync for each connection by itself.
    bool manual_start;
    const char *config_schema, *metadata_schema;
    /// An action's.
    const char *input_schema, *output_schema;
} terapi_manifest;

/// Which run this is.
typedef struct {
    text run_id, connection, variant;
    /// What the operator configured: an object.
    json config;
} terapi_context;

/// Defined by the script.
extern const terapi_manifest terapi_script;
bool terapi_sync_run(const terapi_context *context);
/// Writes its output, any JSON.
bool terapi_action_run(const terapi_context *context, json input, json_writer *output);

// --- failing

/// Ends the run, with a message for the operator as printf makes it; returns false. It will fail again until somebody changes something.
bool terapi_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// The same, but it may go better next time.
bool terapi_fail_for_now(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// Adds any JSON to the failure; for an action, the body of its error.
void terapi_fail_details(text details);
/// The reason that is kept.
text terapi_failure(void);

// --- requests

/// A request under construction. Texts are not copied: they must stay until it is sent.
typedef struct {
    const char *method;
    text url;
    terapi_tuple2_string_string_t query[32], headers[32];
    size_t query_count, header_count;
    /// The body, if it has one.
    text body;
    bool has_body;
    uint32_t retries, timeout_ms;
} terapi_request;

/// An answer, whose body stays until the next page or terapi_scratch_clear.
typedef struct {
    uint16_t status;
    text body;
    terapi_list_tuple2_string_string_t headers;
} terapi_answer;

/// A request of an absolute URL, or a path on the integration's base URL. A GET is tried three times more, others are not.
terapi_request terapi_request_of(const char *method, const char *url);
/// Adds to the query; the host encodes it.
void terapi_query(terapi_request *request, const char *name, const char *value);
void terapi_header(terapi_request *request, const char *name, const char *value);
/// Sends JSON.
void terapi_body_json(terapi_request *request, text body);

/// Sends it and waits. A status of 400 and above is a failure.
bool terapi_send(terapi_request *request, terapi_answer *answer);
/// Any status is fine.
bool terapi_send_any(terapi_request *request, terapi_answer *answer);
/// The first header of this name, in lower case; empty if there is none.
text terapi_answer_header(const terapi_answer *answer, const char *name);

/// A list of pages that the host walks, and fetches ahead.
typedef struct {
    uint64_t list;
    bool failed, begun;
    const char *url;
} terapi_pages;

/// By the `Link` header (RFC 8288) with rel="next". `ahead` (at most 8) pages are requested before they are asked for.
terapi_pages terapi_pages_by_link(terapi_request *first, uint32_t ahead);
/// By a number in the query that grows by `step`: 1 for page numbers, a page's size for offsets. Ends with an empty array.
terapi_pages terapi_pages_by_count(terapi_request *first, const char *parameter, uint64_t from, uint64_t step, uint32_t ahead);
/// The next page; what the one before was made of is gone. False at the end and on a failure, which `failed` tells:
///     while (terapi_next_page(&pages, &page)) { … }
///     return !pages.failed;
bool terapi_next_page(terapi_pages *pages, terapi_answer *page);
/// Ends a list before its end.
void terapi_stop_pages(terapi_pages *pages);

// --- records

/// Records on their way. Zero-initialize, name the model, use it again after each save.
typedef struct {
    const char *model;
    /// Write the record's object here after terapi_record.
    json_writer out;
    struct { size_t id_at, id_len, data_at; } *entries;
    size_t count, room;
    char *ids;
    size_t ids_len, ids_room;
    /// What all saves of this batch did.
    uint64_t added, updated, unchanged;
} terapi_batch;

/// Begins a record and gives the writer for its object, with `id` in it as a string; end it with json_end_object.
json_writer *terapi_record(terapi_batch *batch, text id);
/// Saves what is in the batch, and empties it. Splits what the host does not take at once.
bool terapi_batch_save(terapi_batch *batch);
/// Merges top-level fields into records that exist.
bool terapi_batch_update(terapi_batch *batch);
/// Marks records as deleted.
bool terapi_batch_delete(const char *model, const text *ids, size_t count);
/// The record with this id, or JSON_NONE.
bool terapi_get_by_id(const char *model, text id, json *record);
/// From now on Terapi notes which records are saved, also over several runs …
bool terapi_track_deletes_start(const char *model);
/// … and deletes the others when this run succeeds.
bool terapi_track_deletes_end(const char *model);

// --- state

/// When the last successful run started, such as 2026-01-02T03:04:05Z; NULL on the first run and after a reset.
const char *terapi_last_sync_date(void);
/// The checkpoint, or JSON_NONE.
json terapi_checkpoint(void);
bool terapi_save_checkpoint(text object);
bool terapi_clear_checkpoint(void);
/// The connection's metadata, an object; `{}` at first.
json terapi_metadata(void);
bool terapi_set_metadata(text object);
bool terapi_update_metadata(text fields);
/// What the operator configured for the connection: an object with `id`, and maybe `integration`, `config`, `pagination`.
json terapi_connection(void);

// --- log

typedef enum { TERAPI_DEBUG, TERAPI_INFO, TERAPI_WARN, TERAPI_ERROR } terapi_level;
void terapi_log(terapi_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
