// The sync that every language does alike; tests/guests/conformance says what.
#include "terapi_sdk.h"

#include <stdio.h>
#include <string.h>

#define SCHEMA                                                                                                          \
    "{\"type\":\"object\",\"description\":\"An issue of the repository.\",\"properties\":{\"id\":{\"type\":\"string\"}," \
    "\"title\":{\"type\":\"string\"},\"weight\":{\"type\":\"integer\"}},\"required\":[\"id\",\"title\",\"weight\"]}"

const terapi_manifest terapi_script = {
    .name = "conformance",
    .version = "1.0.0",
    .description = "Keeps the issues of a repository.",
    .models = {{.name = "Issue", .schema = SCHEMA}},
    .frequency = "every hour",
    .base_url = "https://api.github.com",
};

static void write_issue(json_writer *out, json issue) {
    json_put(out, "number", json_get(issue, "number"));
    json_put(out, "title", json_get(issue, "title"));
    json_put(out, "state", json_get(issue, "state"));
    json_put(out, "author", json_at(issue, "user.login"));
    json_name(out, "labels");
    json_begin_array(out);
    json labels = json_get(issue, "labels");
    for (json label = json_first(labels); label.kind; label = json_next(label)) json_write(out, json_get(label, "name"));
    json_end_array(out);
    json_put(out, "weight", json_get(issue, "weight"));
    json reactions = json_get(issue, "reactions");
    json_name(out, "reactions");
    json_begin_object(out);
    json_put(out, "total_count", json_get(reactions, "total_count"));
    json_put(out, "+1", json_get(reactions, "+1"));
    json_put(out, "heart", json_get(reactions, "heart"));
    json_end_object(out);
    json milestone = json_get(issue, "milestone");
    json_name(out, "milestone");
    if (json_has(milestone)) {
        json_begin_object(out);
        json_put(out, "title", json_get(milestone, "title"));
        json_put(out, "due_on", json_get(milestone, "due_on"));
        json_end_object(out);
    } else {
        json_write_null(out);
    }
    json_put(out, "body", json_get(issue, "body"));
    json_put(out, "updated_at", json_get(issue, "updated_at"));
}

bool terapi_sync_run(const terapi_context *context) {
    text repository = json_text(json_get(context->config, "repository"));
    if (!repository.len) return terapi_fail("the configuration needs `repository`, such as owner/name");
    const char *since = json_get(context->config, "all").kind == JSON_TRUE ? NULL : terapi_last_sync_date();

    char url[256];
    snprintf(url, sizeof url, "/repos/%.*s/issues", (int)repository.len, repository.ptr);
    terapi_request request = terapi_request_of("GET", url);
    terapi_query(&request, "state", "all");
    terapi_query(&request, "per_page", "3");
    if (since) terapi_query(&request, "since", since);
    else if (!terapi_track_deletes_start("Issue")) return false;

    int pages_done = 0;
    terapi_batch batch = {.model = "Issue"};
    terapi_pages pages = terapi_pages_by_link(&request, 0);
    terapi_answer page;
    while (terapi_next_page(&pages, &page)) {
        json issues = json_parse(page.body);
        if (issues.kind != JSON_ARRAY) return terapi_fail("GET %s: the answer is no list of issues", url);
        for (json issue = json_first(issues); issue.kind; issue = json_next(issue)) {
            if (json_has(json_get(issue, "pull_request"))) continue;
            json_writer *out = terapi_record(&batch, json_text(json_get(issue, "id")));
            write_issue(out, issue);
            json_end_object(out);
        }
        if (!terapi_batch_save(&batch)) return false;
        char place[32];
        snprintf(place, sizeof place, "{\"pages\":%d}", ++pages_done);
        if (!since && !terapi_save_checkpoint(text_of(place))) return false;
    }
    if (pages.failed) return false;
    return since || (terapi_track_deletes_end("Issue") && terapi_clear_checkpoint());
}
