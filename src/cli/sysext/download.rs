//! What recipes need from servers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::Result;
use crate::flatcar::sysext::recipe::Chosen;
use crate::progress::Progress;

#[cfg(feature = "fetch")]
use super::super::fetch_args::{FetchArgs, Means, cache_of};
use super::super::progress::Reporter;
use super::pack::PackArgs;

/// What fetches, from the moment that anything is to be fetched.
pub struct Downloads<'a> {
    #[cfg(feature = "fetch")]
    args: &'a FetchArgs,
    #[cfg(feature = "fetch")]
    means: Option<Means>,
    #[cfg(feature = "fetch")]
    pack: &'a PackArgs,
    reporter: &'a Reporter,
}

impl<'a> Downloads<'a> {
    #[cfg(feature = "fetch")]
    pub fn new(args: &'a FetchArgs, pack: &'a PackArgs, reporter: &'a Reporter) -> Result<Self> {
        args.refuse_keys("what recipes name is verified by digests, and no key is asked")?;
        Ok(Self {
            args,
            means: None,
            pack,
            reporter,
        })
    }

    #[cfg(not(feature = "fetch"))]
    pub fn new(_: &'a PackArgs, reporter: &'a Reporter) -> Self {
        Self { reporter }
    }

    /// Adds what is missing in `files`, by the names of the downloads. `digests` are those that are known besides.
    #[cfg(feature = "fetch")]
    pub fn complete(
        &mut self,
        chosen: &Chosen,
        files: &mut BTreeMap<String, PathBuf>,
        digests: &BTreeMap<String, String>,
    ) -> Result<()> {
        use crate::Reason;

        let given = files.keys().cloned().collect();
        let downloads = chosen.downloads(&given).map_err(|error| {
            error.with_hint("--version gives it, also as DOWNLOAD=VERSION, or --from a file")
        })?;
        if downloads.is_empty() {
            return Ok(());
        }
        let reporter = self.reporter;
        let means = self.means()?;
        let fetcher = means.fetcher(reporter);
        for download in downloads {
            let sha256 = digests.get(&download.name).map(String::as_str);
            let fetched = fetcher
                .download(download, sha256, reporter)
                .map_err(|error| match error.reason() {
                    Some(Reason::NoSignature) => error.with_hint(format!(
                        "give the digest that you know: --sha256 {}=DIGITS",
                        download.name
                    )),
                    _ => error,
                });
            if let Some(fetched) = means.tally.unless_missing(fetched)? {
                files.insert(download.name.clone(), fetched.path);
            }
        }
        means.tally.check()
    }

    #[cfg(feature = "fetch")]
    fn means(&mut self) -> Result<&Means> {
        if self.means.is_none() {
            let read = &self.pack.read;
            let cache = match read.no_cache {
                true => None,
                false => Some(cache_of(read.cache_dir.as_deref())?),
            };
            let means = self.args.means(cache.as_deref(), None, self.reporter)?;
            means
                .findings
                .iter()
                .for_each(|finding| self.reporter.found(finding));
            self.means = Some(means);
        }
        self.means
            .as_ref()
            .ok_or_else(|| crate::Error::internal("there are no means of fetching"))
    }

    /// Without a network, all must be here.
    #[cfg(not(feature = "fetch"))]
    pub fn complete(
        &mut self,
        chosen: &Chosen,
        files: &mut BTreeMap<String, PathBuf>,
        _: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.reporter.cancel().check()?;
        match chosen.names().find(|name| !files.contains_key(*name)) {
            None => Ok(()),
            Some(name) => Err(crate::Error::unsupported(format!(
                "this flatbake cannot fetch {name}: it was built without the feature fetch"
            ))
            .with_hint("give the file with --from")),
        }
    }
}
