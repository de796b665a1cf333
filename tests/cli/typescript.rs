//! TypeScript files on the command line: run, built, deployed and watched as they are.

use super::{DemoApiOptions, Desk, Server, json, stderr, stdout};

const ENTRY: &str = "import { createSync, z } from 'terapi';\nimport { word } from '../lib/word.js';\n\
    const Thing = z.object({ id: z.string(), word: z.string() });\n\
    export default createSync({ description: 'Keeps a word.', frequency: 'every day', models: { Thing }, exec: async (terapi) => {\n\
    const rows: { id: string; word: string }[] = [{ id: '1', word }];\n    await terapi.batchSave(rows, 'Thing');\n} });\n";

fn desk() -> Desk {
    let desk = Desk::new(DemoApiOptions::default());
    for folder in ["syncs", "lib"] {
        std::fs::create_dir(desk.dir.path().join(folder)).unwrap();
    }
    std::fs::write(desk.dir.path().join("syncs/words.ts"), ENTRY).unwrap();
    say(&desk, "one");
    desk
}

fn say(desk: &Desk, word: &str) {
    std::fs::write(desk.dir.path().join("lib/word.ts"), format!("export const word: string = '{word}';\n")).unwrap();
}

#[test]
fn a_file_is_run_built_inspected_and_deployed_as_it_is() {
    let desk = desk();
    let run = desk.terapi(&["run", &desk.file("syncs/words.ts"), "--connection", "acme"]);
    assert!(run.status.success(), "{run:?}");
    assert!(stdout(&run).contains("1 added"), "{}", stdout(&run));
    let records = json(&desk.terapi(&["records", "Thing", "--connection", "acme", "--json"]));
    assert_eq!(records["records"][0]["data"]["word"], "one");

    let inspected = json(&desk.terapi(&["inspect", &desk.file("syncs/words.ts"), "--json"]));
    assert_eq!(inspected["manifest"]["name"], "words");
    assert_eq!(inspected["modules"], serde_json::json!(["syncs/words.ts", "lib/word.ts"]));

    let wasm = desk.file("words.wasm");
    let built = desk.terapi(&["build", &desk.file("syncs/words.ts"), "-o", &wasm]);
    assert!(built.status.success(), "{built:?}");
    say(&desk, "two");
    let run = desk.terapi(&["run", &wasm, "--connection", "acme"]);
    assert!(stdout(&run).contains("1 unchanged"), "{run:?}");

    let added = desk.terapi(&["script", "add", &desk.file("syncs/words.ts")]);
    assert!(stdout(&added).contains("deployed  words (version 1"), "{added:?}");
    let run = desk.terapi(&["run", "words", "--connection", "acme"]);
    assert!(stdout(&run).contains("1 updated"), "{run:?}");
}

#[test]
fn what_is_wrong_is_told_with_the_place() {
    let desk = desk();
    std::fs::write(desk.dir.path().join("lib/word.ts"), "export const word = ;\n").unwrap();
    let built = desk.terapi(&["build", &desk.file("syncs/words.ts")]);
    assert_eq!(built.status.code(), Some(1));
    assert!(stderr(&built).contains("error[syntax-error]"), "{}", stderr(&built));
    assert!(
        stderr(&built).contains("lib/word.ts:1:21") && stderr(&built).contains("1 | export const word = ;"),
        "{built:?}"
    );
    std::fs::remove_file(desk.dir.path().join("lib/word.ts")).unwrap();
    let built = desk.terapi(&["run", &desk.file("syncs/words.ts")]);
    assert!(stderr(&built).contains("error[unresolved-import]"), "{}", stderr(&built));
    let built = desk.terapi(&["build", &desk.file("slack-members.wasm")]);
    assert_eq!(built.status.code(), Some(2));
}

#[test]
fn a_file_is_deployed_again_when_one_that_it_imports_changes() {
    let desk = desk();
    desk.furnish();
    let mut dev = Server::start(&desk, &["dev", "syncs/words.ts", "--connection", "acme"]);
    assert_eq!(dev.until("deployed")["version"], 1);
    assert_eq!(dev.until("run")["changes"]["added"], 1);
    say(&desk, "three");
    assert_eq!(dev.until("deployed")["version"], 2);
    assert_eq!(dev.until("run")["changes"]["updated"], 1);
    std::fs::write(desk.dir.path().join("lib/word.ts"), "export const word = ;\n").unwrap();
    assert_eq!(dev.until("error")["code"], "syntax-error");
    say(&desk, "four");
    assert_eq!(dev.until("deployed")["version"], 3);
}
