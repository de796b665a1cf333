//! Lists the SDK's modules, so that a new file of it needs no word here.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("..");
    let mut modules = vec![("terapi:zod.js".to_owned(), root.join("vendor/zod/zod.js"))];
    walk(&root.join("sdk"), "terapi:sdk/", &mut modules);
    modules.sort();
    println!("cargo:rerun-if-changed={}", root.join("sdk").display());
    let mut list = String::from("/// The SDK's modules: name and code.\nconst SDK: &[(&str, &str)] = &[\n");
    for (name, path) in modules {
        println!("cargo:rerun-if-changed={}", path.display());
        let path = path.canonicalize().expect("the file was just listed");
        writeln!(list, "    ({name:?}, include_str!({:?})),", path.display().to_string()).expect("to a string");
    }
    list.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("sdk.rs"), list).expect("cargo's folder can be written to");
}

fn walk(folder: &Path, prefix: &str, modules: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).expect("the SDK is beside the engine") {
        let path = entry.expect("the SDK can be listed").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), modules);
        } else if name.ends_with(".js") {
            modules.push((format!("{prefix}{name}"), path));
        }
    }
}
