//! The disks of variants and of their results, each on a fork of what it starts from.

use std::sync::Arc;

use super::super::plan::Plan;
use super::super::request::{Context, RootSize, Stream, at_origin};
use super::bench::{Run, Work, stop_at};
use super::payload::OemChange;
use super::prepared::{Key, Prepared, PreparedImage, PreparedVariant};
use super::sizes::{Made, Sizes, Stock, make};
use super::targets;
use super::vendors::ChosenVendor;
use crate::bake::write::Output;
use crate::block::{BlockDevice, Overlay};
use crate::error::{Error, ErrorKind, Result, ResultExt};
use crate::finding::{Finding, code};
use crate::flatcar::live;
use crate::flatcar::{Designator, Disk};

/// Results whose disks are kept from the moment they are prepared; further ones are made anew when they are written, so
/// that thousands of variants take memory for those that are being written only.
const HELD_MAX: usize = 32;

impl Prepared {
    /// All variants and results, each on a fork.
    pub(super) fn prepare_results(
        &mut self,
        run: &Run<'_>,
        targets: &[Output],
        failures: &mut Vec<(Key, Error)>,
    ) -> Result<()> {
        if self.request.variants.is_empty() {
            let overlay = Arc::clone(&self.shared_overlay);
            self.results_of(run, None, &overlay, targets, failures)?;
        }
        for at in 0..self.request.variants.len() {
            run.context.cancel.check()?;
            let variant = &self.request.variants[at];
            let name = variant.name.clone();
            let origin = variant.origin.clone();
            match self.make_variant(run, at) {
                Ok(made) => {
                    self.variants.push(PreparedVariant {
                        name,
                        plan: made.plan,
                    });
                    self.results_of(run, Some(at), &made.overlay, targets, failures)?;
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    failures.push((
                        Key {
                            variant: Some(name),
                            vendor: None,
                        },
                        at_origin(error, origin.as_ref()),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The disk of one variant.
    fn make_variant(&self, run: &Run<'_>, at: usize) -> Result<Made> {
        let variant = &self.request.variants[at];
        let label = format!("{}: variant {}", self.base.name, variant.name);
        let stock = stock_of(label, &self.shared_overlay)?;
        let (mut edits, _) = self.request.parts(&variant.edits, &self.vendors);
        if edits.install_to.is_none() {
            edits.install_to.clone_from(&self.request.edits.install_to);
        }
        edits.sysupdate |= self.request.edits.sysupdate;
        edits.settings.survive_reset |= self.request.edits.settings.survive_reset;
        // A size that is given was reached by the shared bake; as large as it needs may be more for a variant.
        let root = self
            .request
            .root_size
            .filter(|size| *size == RootSize::Auto);
        let sizes = Sizes {
            root,
            ..Sizes::default()
        };
        let beside = self.request.edits.merged_sysexts();
        make(
            run,
            &stock,
            Work {
                edits: &edits,
                oem: &OemChange::Keep,
                beside: &beside,
            },
            sizes,
        )
    }

    /// The results of one variant, or of the shared bake.
    fn results_of(
        &mut self,
        run: &Run<'_>,
        variant: Option<usize>,
        overlay: &Arc<Overlay>,
        targets: &[Output],
        failures: &mut Vec<(Key, Error)>,
    ) -> Result<()> {
        let name = variant.map(|at| self.request.variants[at].name.clone());
        let is_plain = !targets.is_empty() || matches!(self.request.stream, Some(Stream::Disk(_)));
        let plain = is_plain.then_some(None);
        let first = self.images.len();
        let all: Vec<Option<usize>> = plain
            .into_iter()
            .chain((0..self.vendors.len()).map(Some))
            .collect();
        for vendor in all {
            run.context.cancel.check()?;
            let id = vendor.map(|at| self.vendors[at].settings.id.as_str().to_owned());
            let key = Key {
                variant: name.clone(),
                vendor: id,
            };
            match self.make_result(run, variant, vendor, overlay) {
                Ok(made) => {
                    let held = (self.images.len() < HELD_MAX).then(|| Arc::clone(&made.overlay));
                    let settings = vendor.map(|at| self.vendors[at].settings.clone());
                    let mut target = targets::of(
                        &self.request,
                        name.as_deref(),
                        settings.as_ref(),
                        targets,
                        &made.overlay,
                    )?;
                    if let Some(catalog) = target.catalog(settings.as_ref())
                        && self.images[first..]
                            .iter()
                            .any(|image| image.target.files().contains(&catalog))
                    {
                        target.without(&catalog);
                    }
                    let plan = made.plan;
                    let disk_bytes = made.overlay.size();
                    self.images.push(PreparedImage {
                        key,
                        variant,
                        vendor,
                        plan,
                        disk_bytes,
                        settings,
                        target,
                        held,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) if vendor.is_some_and(|at| self.vendors[at].may_be_left_out(&error)) => {
                    let left_out = Finding::new(code::VENDOR_LEFT_OUT)
                        .with("vendor", &key)
                        .with("why", error.message());
                    self.findings.push(left_out);
                }
                Err(error) => failures.push((key, error)),
            }
        }
        Ok(())
    }

    /// The disk of one result, on a fork of that of its variant.
    fn make_result(
        &self,
        run: &Run<'_>,
        variant: Option<usize>,
        vendor: Option<usize>,
        overlay: &Arc<Overlay>,
    ) -> Result<Made> {
        if self.vendors.is_empty() {
            return Ok(Made {
                overlay: Arc::clone(overlay),
                plan: Plan::default(),
            });
        }
        let (_, mut edits) = self.request.parts(&self.request.edits, &self.vendors);
        if let Some(at) = variant {
            let (_, own) = self
                .request
                .parts(&self.request.variants[at].edits, &self.vendors);
            edits = edits.with_grub_of(own);
        }
        let named = variant
            .map(|at| format!(": variant {}", self.request.variants[at].name))
            .unwrap_or_default();
        let label = format!("{}{named}", self.base.name);
        let Some(at) = vendor else {
            let stock = stock_of(label, overlay)?;
            let work = Work {
                edits: &edits,
                oem: &OemChange::Keep,
                beside: &[],
            };
            return make(run, &stock, work, Sizes::default());
        };
        let chosen = &self.vendors[at];
        let label = format!("{label}: vendor {}", chosen.settings.id);
        let stock = stock_of(label.clone(), overlay)?;
        let mut made = make(
            run,
            &stock,
            Work {
                edits: &edits,
                oem: &chosen.oem,
                beside: &[],
            },
            chosen.sizes(),
        )?;
        chosen
            .check_size(made.overlay.size())
            .at(|| label.clone())?;
        let mut more = chosen.findings.clone();
        more.extend(
            self.check_vendor(chosen, variant, &made)
                .at(|| label.clone())?,
        );
        stop_at(&mut more, self.request.policy).at(|| label)?;
        made.plan.findings.extend(more);
        Ok(made)
    }

    /// What would stop the writing of a vendor's files, and what a person should know of them.
    fn check_vendor(
        &self,
        chosen: &ChosenVendor,
        variant: Option<usize>,
        made: &Made,
    ) -> Result<Vec<Finding>> {
        let settings = &chosen.settings;
        let key = Key {
            variant: variant.map(|at| self.request.variants[at].name.clone()),
            vendor: Some(settings.id.as_str().to_owned()),
        };
        let device: Arc<dyn BlockDevice> = Arc::clone(&made.overlay) as _;
        let disk = Disk::open(settings.stem(), device)?;
        settings.conf_texts(&self.machine(settings, &key, &disk)?)?;
        if settings.disk_format.output().is_some() {
            return Ok(Vec::new());
        }
        let findings = live::check(&disk)?;
        // What an image has always had on ROOT nobody has asked for.
        let of_variant = self
            .variants
            .last()
            .filter(|_| variant.is_some())
            .map(|variant| &variant.plan);
        let plans = [Some(&self.shared), of_variant, Some(&made.plan)];
        let mut changes = plans.into_iter().flatten().flat_map(|plan| &plan.changes);
        if changes.any(|change| change.partition == Designator::Root) {
            return Ok(findings);
        }
        Ok(findings.into_iter().map(Finding::lifted).collect())
    }

    /// The disk of a result: the one that was kept, or the same made once more.
    pub(in crate::bake) fn disk_of(
        &self,
        context: &Context<'_>,
        image: &PreparedImage,
    ) -> Result<Arc<Overlay>> {
        if let Some(disk) = &image.held {
            return Ok(Arc::clone(disk));
        }
        let run = Run {
            context,
            inputs: self.inputs.clone(),
            release: self.base.release.clone(),
            timestamp: self.timestamp,
            policy: self.request.policy,
        };
        let variant = image
            .variant
            .map(|at| self.make_variant(&run, at))
            .transpose()?;
        let below = variant
            .as_ref()
            .map_or(&self.shared_overlay, |made| &made.overlay);
        let made = self.make_result(&run, image.variant, image.vendor, below)?;
        if made.plan != image.plan {
            return Err(Error::invalid(format!(
                "{}: an input was changed since the run began",
                image.key
            ))
            .with_hint("wait until nobody writes to the inputs, then try again"));
        }
        Ok(made.overlay)
    }
}

/// An overlay as the disk that the next bench starts from.
fn stock_of(label: String, overlay: &Arc<Overlay>) -> Result<Stock> {
    let device: Arc<dyn BlockDevice> = Arc::clone(overlay) as _;
    Ok(Stock {
        disk: Disk::open(label, device)?,
        overlay: Some(Arc::clone(overlay)),
    })
}
