//! The house rules that a machine can hold: who may import whom, and how long a file may be.

use std::collections::BTreeMap;
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

/// The top-level modules that a text names after `crate::`, also within braces.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with('$') || text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(inner) => {
                let mut depth = 0;
                let inner: String = inner
                    .chars()
                    .take_while(|c| {
                        depth += match c {
                            '{' => 1,
                            '}' => -1,
                            _ => 0,
                        };
                        depth >= 0
                    })
                    .collect();
                let mut names = vec![String::new()];
                let mut depth = 0;
                for c in inner.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(String::new()),
                        c if depth == 0 => names.last_mut().unwrap().push(c),
                        _ => {}
                    }
                }
                names
            }
            None => vec![rest.to_owned()],
        };
        for name in names {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() {
                found.push(name);
            }
        }
    }
    found
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
