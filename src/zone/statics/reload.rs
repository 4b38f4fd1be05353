//! Zone files that change while the server runs: read anew when asked to, and when one of them looks different.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::ZoneFileError;
use crate::zone::Zone;

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Keeps a zone in step with the folder of its files.
#[derive(Debug)]
pub struct Reloader {
    zone: Arc<Zone>,
    folder: PathBuf,
    reloads: Counter,
    failures: Counter,
}

impl Reloader {
    /// Looks after a folder that the zone's files are in; registers its counters.
    ///
    /// # Errors
    /// The first file that cannot be served: a server does not start with half of what it is told to serve.
    pub fn new(zone: Arc<Zone>, folder: PathBuf, registry: &mut Registry) -> Result<Self, ZoneFileError> {
        let statics = super::Statics::load(&folder, &zone.settings.name)?;
        for (name, file) in statics.zones() {
            tracing::info!(dns.zone = %name, file.path = %file.display(), "zone file loaded");
        }
        zone.replace_statics(statics);
        let (reloads, failures) = (Counter::default(), Counter::default());
        registry.register("zone_file_reloads", "Times the zone files were read anew", reloads.clone());
        registry.register("zone_file_failures", "Zone files that could not be served when read anew", failures.clone());
        Ok(Self { zone, folder, reloads, failures })
    }

    /// Reads anew when `asked`, and when one of the files has changed, until `closing` says so.
    pub async fn run(mut self, asked: Arc<Notify>, mut closing: watch::Receiver<bool>) {
        let mut look_again = interval(LOOK_EVERY);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let was_asked = tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                () = asked.notified() => true,
                _ = look_again.tick() => false,
            };
            let step = tokio::task::spawn_blocking(move || {
                self.step(was_asked);
                self
            });
            // Nothing is undone by leaving this one to itself at the end.
            self = tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                step = step => match step {
                    Ok(reloader) => reloader,
                    Err(error) => {
                        tracing::error!(error = %error, "zone files are not read anew any more");
                        return;
                    }
                },
            };
        }
    }

    /// Looks, and reads when there is reason to.
    fn step(&self, was_asked: bool) {
        if was_asked || self.zone.statics().is_stale(&self.folder) {
            self.reload();
        }
    }

    /// Reads every file anew. Returns those that cannot be served, of which the zone before stays.
    fn reload(&self) -> Vec<ZoneFileError> {
        let (statics, errors) = self.zone.statics().reload(&self.folder, &self.zone.settings.name);
        let zones = statics.zones().count();
        self.zone.replace_statics(statics);
        self.reloads.inc();
        self.failures.inc_by(errors.len() as u64);
        for error in &errors {
            tracing::error!(file.path = %error.file.display(), "zone file not taken in, what was served stays: {error}");
        }
        tracing::info!(zone_files.zones = zones, zone_files.failures = errors.len(), "zone files read anew");
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::statics::tests::zone_with;

    #[test]
    fn changes_are_taken_in_and_bad_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("svc.internal.zone");
        std::fs::write(&path, "$TTL 1h\nhost A 192.0.2.1\n").unwrap();
        let zone = zone_with(&[]);
        let mut registry = Registry::default();
        let reloader = Reloader::new(zone.clone(), folder.path().to_owned(), &mut registry).unwrap();
        assert!(zone.reserved("host").is_some() && zone.reserved("other").is_none());

        reloader.step(false);
        assert_eq!(reloader.reloads.get(), 0, "nothing has changed");
        std::fs::write(&path, "$TTL 1h\nother A 192.0.2.1\n\nhost A x\n").unwrap();
        reloader.step(false);
        assert_eq!((reloader.reloads.get(), reloader.failures.get()), (1, 1));
        assert!(zone.reserved("host").is_some() && zone.reserved("other").is_none());
        reloader.step(true);
        assert_eq!((reloader.reloads.get(), reloader.failures.get()), (2, 2));

        std::fs::write(&path, "$TTL 1h\nother A 192.0.2.1\n").unwrap();
        reloader.step(false);
        assert!(zone.reserved("host").is_none() && zone.reserved("other").is_some());
        std::fs::remove_file(&path).unwrap();
        reloader.step(false);
        assert!(zone.statics().is_empty());
    }

    #[test]
    fn only_files_that_count_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        std::fs::create_dir(folder.path().join("parts")).unwrap();
        write("svc.internal.zone", "$TTL 1h\n$INCLUDE parts/a\n");
        write("parts/a", "a A 192.0.2.1\n");
        let zone = zone_with(&[]);
        let reloader = Reloader::new(zone.clone(), folder.path().to_owned(), &mut Registry::default()).unwrap();
        let reads = |expected: u64| {
            reloader.step(false);
            assert_eq!(reloader.reloads.get(), expected);
        };
        write("log", "what happens");
        write("parts/b", "b A 192.0.2.1\n");
        write(".svc.internal.zone", "half of it");
        reads(0);
        write("parts/a", "$INCLUDE parts/b\nc A 192.0.2.1\n");
        reads(1);
        assert!(zone.reserved("a").is_some(), "a path is from the including file, and parts/parts/b is not there");
        reads(1);
        std::fs::create_dir(folder.path().join("parts/parts")).unwrap();
        write("parts/parts/b", "b A 192.0.2.1\n");
        reads(2);
        assert!(zone.reserved("b").is_some() && zone.reserved("c").is_some());
        std::fs::remove_dir_all(folder.path()).unwrap();
        reads(3);
        reads(3);
        assert!(zone.reserved("c").is_some());
    }
}
