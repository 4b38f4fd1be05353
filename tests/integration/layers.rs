//! The house rules that a machine can hold: who may import whom, and how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The layer table of ARCHITECTURE.md: a module imports from lower rows only, siblings never each other.
fn table() -> BTreeMap<String, usize> {
    let text = fs::read_to_string("ARCHITECTURE.md").expect("ARCHITECTURE.md");
    let block = text.split("```layers\n").nth(1).expect("a block ```layers").split("```").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in block.lines() {
        let mut words = line.split_whitespace();
        let row: usize = words.next().unwrap().parse().expect("a row begins with its number");
        rows.extend(words.map(|module| (module.to_owned(), row)));
    }
    rows
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The top-level module that a file belongs to.
fn module_of(path: &Path) -> String {
    let first = path.strip_prefix("src").unwrap().components().next().unwrap();
    first.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// What stands in a text after a prefix such as `crate::`, also within braces: a path each.
fn paths_after(prefix: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(prefix) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
            continue;
        }
        found.extend(branches(&text[at + prefix.len()..]));
    }
    found
}

/// The paths that a use tree begins with: one, or those between its outermost braces.
fn branches(tree: &str) -> Vec<String> {
    let Some(inner) = tree.strip_prefix('{') else {
        return vec![tree.chars().take_while(|c| c.is_alphanumeric() || "_:{}, \n".contains(*c)).collect()];
    };
    let (mut found, mut depth) = (vec![String::new()], 0);
    for c in inner.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        found.last_mut().unwrap().push(c);
    }
    found
}

/// The first name of a path.
fn first_of(path: &str) -> String {
    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The top-level modules that a text names after `crate::`, also within braces.
fn imports(text: &str) -> Vec<String> {
    let names = paths_after("crate::", text).iter().map(|path| first_of(path)).collect::<Vec<_>>();
    names.into_iter().filter(|name| !name.is_empty()).collect()
}

/// A file without its tests, which may look at whatever they like.
fn without_tests(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

/// Which files of a module its root takes its names from: `use probe::{Failure, Outcome}` says both come from `probe`.
fn origins(root: &str, files: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    for file in files {
        for path in paths_after(&format!("use {file}::"), root) {
            let end = path.find(['\n', ';']).unwrap_or(path.len());
            origins.insert(first_of(path[..end].rsplit("::").next().unwrap()), file.clone());
        }
    }
    origins
}

/// Every folder of modules, at any depth.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let inner = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    inner.flat_map(|path| folders(&path).into_iter().chain([path])).collect()
}

/// The files of a module that each of them imports, also by names that the module's root passes on. Modules of several
/// files within it are looked at by themselves.
fn imports_within(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let root = [folder.join("mod.rs"), folder.with_extension("rs")].into_iter().find(|root| root.exists()).unwrap();
    let root = fs::read_to_string(root).unwrap();
    let of_tests = |name: &str| root.contains(&format!("#[cfg(test)]\nmod {name};"));
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let files: BTreeMap<String, PathBuf> = paths
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .filter(|(name, _)| name != "mod" && !of_tests(name))
        .collect();
    let names: BTreeSet<String> = files.keys().cloned().collect();
    let origins = origins(&root, &names);
    let reached = |path: &str| {
        let name = first_of(path);
        if names.contains(&name) { Some(name) } else { origins.get(&name).cloned() }
    };
    let module = folder.strip_prefix("src").unwrap().to_str().unwrap().replace('/', "::");
    let imports = |(name, path): (&String, &PathBuf)| {
        let text = without_tests(path);
        let paths = [paths_after("super::", &text), paths_after(&format!("crate::{module}::"), &text)].concat();
        let others = paths.iter().filter_map(|path| reached(path)).filter(|other| other != name);
        (name.clone(), others.collect())
    };
    files.iter().map(imports).collect()
}

/// The files that reach themselves by way of others.
fn in_cycles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reaches_itself = |start: &&String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![*start]);
        while let Some(file) = next.pop() {
            for import in &imports[file] {
                if import == *start {
                    return true;
                }
                if seen.insert(import) {
                    next.push(import);
                }
            }
        }
        false
    };
    imports.keys().filter(reaches_itself).cloned().collect()
}

/// Files that import in a circle, and why they still do.
const CIRCLES: [(&str, &[&str]); 1] = [
    // `exchange` needs to know what an `Upstream` is, and stands in one file with who asks by `exchange`.
    ("src/dns/forward", &["exchange", "metrics", "upstream"]),
];

#[test]
fn files_of_a_module_do_not_import_in_circles() {
    let mut faults = Vec::new();
    for folder in folders(Path::new("src")) {
        let imports = imports_within(&folder);
        let known = |file: &str| CIRCLES.iter().any(|(m, files)| folder == Path::new(m) && files.contains(&file));
        for file in in_cycles(&imports).iter().filter(|file| !known(file)) {
            faults.push(format!("{}/{file} imports {:?}", folder.display(), imports[file]));
        }
    }
    assert!(faults.is_empty(), "these files reach themselves:\n{}", faults.join("\n"));
}

#[test]
fn imports_within_a_module_are_read_as_they_are_written() {
    let text =
        "use super::probe::{Failure, probe};\nuse super::{Targets, http, tcp::{self, close}};\nsuper::edns::add();";
    let names: Vec<String> = paths_after("super::", text).iter().map(|path| first_of(path)).collect();
    assert_eq!(names, ["probe", "Targets", "http", "tcp", "edns"]);
    let files = ["target", "slots"].map(str::to_owned).into();
    let origins = origins("pub use target::{TargetRefused, Targets};\nuse slots::Slots;", &files);
    let origin = |name: &str| origins.get(name).map(String::as_str);
    assert_eq!(
        (origin("Targets"), origin("TargetRefused"), origin("Slots")),
        (Some("target"), Some("target"), Some("slots"))
    );
    let imports = |pairs: &[(&str, &[&str])]| {
        let pairs =
            pairs.iter().map(|(file, imports)| ((*file).to_owned(), imports.iter().map(|i| (*i).to_owned()).collect()));
        pairs.collect::<BTreeMap<String, BTreeSet<String>>>()
    };
    assert_eq!(in_cycles(&imports(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])), ["b", "c"]);
    assert!(in_cycles(&imports(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])).is_empty());
}

#[test]
fn imports_are_read_as_they_are_written() {
    let text = "use crate::model::Label;\nuse crate::{api, zone::{self, Zone}};\nlet x = crate::net::bind();";
    assert_eq!(imports(text), ["model", "api", "zone", "net"]);
}

#[test]
fn modules_import_from_lower_rows_only() {
    let table = table();
    let mut faults = Vec::new();
    for path in sources(Path::new("src")) {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(row) = table.get(&module) else {
            faults.push(format!("{module} ({}) is not in the layer table", path.display()));
            continue;
        };
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            match table.get(&import) {
                Some(below) if below < row => {}
                _ if import == module => {}
                Some(_) => faults.push(format!("{} imports {import}, which is not below {module}", path.display())),
                None => faults.push(format!("{} imports {import}, which is not in the table", path.display())),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_module_of_the_table_exists() {
    for module in table().keys() {
        let (file, folder) = (format!("src/{module}.rs"), format!("src/{module}"));
        assert!(Path::new(&file).exists() || Path::new(&folder).is_dir(), "{module} is in the table only");
    }
}

#[test]
fn hickory_server_is_named_in_one_file() {
    let naming: Vec<PathBuf> = sources(Path::new("src"))
        .into_iter()
        .filter(|path| fs::read_to_string(path).unwrap().contains("use hickory_server"))
        .collect();
    assert_eq!(naming, [Path::new("src/dns/handler.rs")]);
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    for path in sources(Path::new("src")) {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !["util", "utils", "common", "misc", "types", "helpers", "error"].contains(&stem),
            "{}",
            path.display()
        );
    }
}

#[test]
fn files_hold_one_noun_and_are_no_longer_than_that_takes() {
    for folder in ["src", "tests"] {
        for path in sources(Path::new(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 600, "{} has {lines} lines", path.display());
        }
    }
}
