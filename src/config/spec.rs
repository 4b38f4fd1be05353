//! What was written, and where: by a flag, in the environment, in the file, or nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ConfigError;
use super::key::{Key, Takes};

/// Where the value of a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag(Key),
    /// In the environment.
    Environment(Key),
    /// In the file.
    File {
        /// Which file.
        path: Arc<Path>,
        /// The line, counted from 1.
        line: usize,
        /// Under which key.
        key: Key,
    },
    /// Nowhere.
    Default(Key),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(key) => f.write_str(&key.flag()),
            Self::Environment(key) => f.write_str(&key.variable()),
            Self::File { path, line, key } => write!(f, "{}, line {line}: {}", path.display(), key.name()),
            Self::Default(_) => f.write_str("default"),
        }
    }
}

/// The text of a setting, taken apart at commas when it is a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

impl Written {
    /// Values as they were written; an empty entry of a list is none, so that `--check-allow ''` empties the file's.
    pub(super) fn new(origin: Origin, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let key = match &origin {
            Origin::Flag(key) | Origin::Environment(key) | Origin::Default(key) | Origin::File { key, .. } => *key,
        };
        let values = values.into_iter().map(Into::into);
        let values = match key.takes() {
            Takes::List => values
                .flat_map(|text: String| text.split(',').map(|part| part.trim().to_owned()).collect::<Vec<_>>())
                .filter(|part| !part.is_empty())
                .collect(),
            Takes::Texts => values.filter(|text| !text.trim().is_empty()).collect(),
            Takes::Text | Takes::Number | Takes::Switch => values.collect(),
        };
        Self { values, origin }
    }

    pub(super) fn error(&self, detail: impl fmt::Display) -> ConfigError {
        ConfigError::at(format!("{} {:?}", self.origin, self.values.join(",")), detail)
    }
}

/// Everything that was written; a setting that is missing has its default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spec {
    written: BTreeMap<Key, Written>,
    /// Where the registry is kept when nobody says.
    pub(super) state_directory: Option<PathBuf>,
}

impl Spec {
    pub(super) fn insert(&mut self, key: Key, written: Written) {
        self.written.insert(key, written);
    }

    /// What the environment says. An empty variable says nothing, because that is how many tools unset one.
    pub(super) fn from_environment(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let written = Key::ALL.into_iter().filter_map(|key| {
            let text = environment(&key.variable()).filter(|text| !text.is_empty())?;
            Some((key, Written::new(Origin::Environment(key), [text])))
        });
        Self { written: written.collect(), state_directory: None }
    }

    /// This, and for what it does not say, `lower`.
    #[must_use]
    pub(super) fn over(mut self, lower: Self) -> Self {
        for (key, written) in lower.written {
            self.written.entry(key).or_insert(written);
        }
        self
    }

    /// Where the value of a setting comes from.
    pub fn origin(&self, key: Key) -> Origin {
        self.written.get(&key).map_or(Origin::Default(key), |written| written.origin.clone())
    }

    pub(super) fn get(&self, key: Key) -> Written {
        self.written.get(&key).cloned().unwrap_or_else(|| Written::new(Origin::Default(key), [key.default()]))
    }

    /// The one value of a setting.
    pub(super) fn one<T, E: fmt::Display>(
        &self,
        key: Key,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let written = self.get(key);
        let text = written.values.first().map_or("", String::as_str).trim();
        parse(text).map_err(|error| written.error(error))
    }

    /// All values of a list; each may stand for several.
    pub(super) fn list<T: PartialEq, E: fmt::Display>(
        &self,
        key: Key,
        parse: impl Fn(&str) -> Result<Vec<T>, E>,
    ) -> Result<Vec<T>, ConfigError> {
        let written = self.get(key);
        let mut list = Vec::new();
        for text in &written.values {
            let values = parse(text).map_err(|error| ConfigError::at(format!("{} {text:?}", written.origin), error))?;
            for value in values {
                if !list.contains(&value) {
                    list.push(value);
                }
            }
        }
        Ok(list)
    }

    pub(super) fn switch(&self, key: Key) -> Result<bool, ConfigError> {
        self.one(key, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err("a switch is true or false (or 1 or 0, yes or no)"),
        })
    }
}

/// The path of the file, when one was named.
pub(super) fn file_path(
    flag: Option<&PathBuf>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<(PathBuf, &'static str)> {
    let named = environment("ROLLCALL_CONFIG").filter(|path| !path.is_empty());
    flag.map(|path| (path.clone(), "--config")).or(named.map(|path| (path.into(), "ROLLCALL_CONFIG")))
}

/// The directory in which this platform expects state: what systemd has made for the service, or what the file system
/// hierarchy and the XDG base directories say.
pub(super) fn state_directory(environment: &dyn Fn(&str) -> Option<String>, is_root: bool) -> Option<PathBuf> {
    let variable = |name| environment(name).filter(|text| text.starts_with('/'));
    // A service may have several, with colons between.
    let of_service = variable("STATE_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
    let of_system = || is_root.then(|| PathBuf::from("/var/lib/rollcall"));
    let of_user = || {
        let state = variable("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".local/state")));
        state.map(|state| state.join("rollcall"))
    };
    of_service.or_else(of_system).or_else(of_user)
}
