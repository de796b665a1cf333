#include "terapi_sdk.h"

const terapi_manifest terapi_script = {
    .name = "issues",
    .description = "Keeps the issues of a repository.",
    .models = {{.name = "Issue", .schema = "{\"type\":\"object\"}"}},
};

bool terapi_sync_run(const terapi_context *context) {
    (void)context;
    static const char *const fields[] = {"number", "title", "state", NULL};
    static const char *const more[] = {"body", "created_at", "updated_at", "closed_at", NULL};
    terapi_request request = terapi_request_of("GET", "/repos/terapi/bench/issues");
    terapi_query(&request, "state", "all");
    terapi_query(&request, "per_page", "100");
    terapi_batch batch = {.model = "Issue"};
    terapi_pages pages = terapi_pages_by_link(&request, 0);
    terapi_answer page;
    while (terapi_next_page(&pages, &page)) {
        json issues = json_parse(page.body);
        for (json issue = json_first(issues); issue.kind; issue = json_next(issue)) {
            if (json_get(issue, "pull_request").kind) continue;
            json_writer *out = terapi_record(&batch, json_text(json_get(issue, "id")));
            for (const char *const *field = fields; *field; field++) json_put(out, *field, json_get(issue, *field));
            json_put(out, "author", json_at(issue, "user.login"));
            json_name(out, "labels");
            json_begin_array(out);
            json labels = json_get(issue, "labels");
            for (json label = json_first(labels); label.kind; label = json_next(label)) json_write(out, json_get(label, "name"));
            json_end_array(out);
            for (const char *const *field = more; *field; field++) json_put(out, *field, json_get(issue, *field));
            json_end_object(out);
        }
        if (!terapi_batch_save(&batch)) return false;
    }
    return !pages.failed;
}
