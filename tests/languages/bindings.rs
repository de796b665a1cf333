//! The C SDK's bindings are generated, and checked in so that an author needs no generator.

use std::path::Path;

use wit_bindgen_core::Files;
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// Writes them instead of comparing, after a change of `wit/`.
const UPDATE: &str = "TERAPI_UPDATE_BINDINGS";

#[test]
fn the_bindings_in_c_are_what_the_contract_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut stale = Vec::new();
    for world in ["sync", "action"] {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(root.join("wit")).unwrap();
        let id = resolve.select_world(&[package], Some(world)).unwrap();
        let options = wit_bindgen_c::Opts {
            string_encoding: StringEncoding::UTF8,
            // `terapi componentize` knows the world by itself.
            no_object_file: true,
            rename_world: Some("terapi".to_owned()),
            ..Default::default()
        };
        let mut files = Files::default();
        options.build().generate(&mut resolve, id, &mut files).unwrap();
        for (name, content) in files.iter() {
            let file = root.join("guest-sdk/c/bindings").join(world).join(name);
            if std::env::var_os(UPDATE).is_some() {
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(&file, content).unwrap();
            } else if std::fs::read(&file).ok().as_deref() != Some(content) {
                stale.push(file.display().to_string());
            }
        }
    }
    assert!(stale.is_empty(), "written by an older contract: {stale:?}; run this test with {UPDATE}=1");
}
