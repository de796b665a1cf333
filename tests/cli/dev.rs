//! `terapi dev`

use super::{DemoApiOptions, Desk, Server, demo};

fn script(name: &str) -> &'static [u8] {
    demo::script(name).unwrap()
}

#[test]
fn a_script_that_changes_is_deployed_and_run_and_a_bad_one_is_told() {
    let desk = Desk::new(DemoApiOptions { members: 6, ..Default::default() });
    let key = desk.furnish();
    let file = desk.dir.path().join("dev.wasm");
    std::fs::write(&file, script("slack-members")).unwrap();
    let mut dev = Server::start(&desk, &["dev", "dev.wasm", "--connection", "acme"]);
    // It was deployed before, and its sync is there.
    assert_eq!(dev.until("deployed")["version"], 1);

    std::fs::write(&file, "no component").unwrap();
    assert_eq!(dev.until("error")["code"], "not-a-component");

    std::fs::write(&file, script("github-issues")).unwrap();
    assert_eq!(dev.until("deployed")["name"], "github-issues");
    let run = dev.until("run");
    assert_eq!(run["script"], "github-issues");
    assert!(run["outcome"]["code"].is_string(), "{run}");
    // It serves meanwhile.
    let status =
        desk.command(&["sync", "list", "--json"]).env("TERAPI_SERVER", &dev.url).env("TERAPI_KEY", key).output();
    let listed = super::json(&status.unwrap());
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
}
