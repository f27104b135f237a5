//! `flatbake releases`

use std::str::FromStr;

use crate::fetch::release::{LIST_MAX, LIST_URL, ListedRelease, ReleaseList};
use crate::fetch::transfer::Source;
use crate::flatcar::Channel;
use crate::{Error, Result};
use clap::Args;

use super::fetch_args::TransferArgs;
use super::progress::Reporter;
use super::table::table;

/// Software whose versions are shown, as the list calls it.
const SOFTWARE: [&str; 5] = ["kernel", "systemd", "docker", "containerd", "ignition"];

/// List Flatcar's releases with what is in them
///
/// The list comes from Flatcar's web site and is not signed: nothing is fetched by it.
#[derive(Debug, Args)]
pub struct Releases {
    /// Only those of this channel: alpha, beta, stable or lts
    #[arg(long, value_name = "CHANNEL", value_parser = super::argument::<ChannelWord>)]
    channel: Option<ChannelWord>,
    #[command(flatten)]
    transfer: TransferArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy)]
struct ChannelWord(Channel);

impl FromStr for ChannelWord {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let channels = [Channel::Alpha, Channel::Beta, Channel::Stable, Channel::Lts];
        let found = channels
            .into_iter()
            .find(|channel| channel.to_string() == text);
        found.map(Self).ok_or_else(|| {
            Error::invalid(format!("'{text}' is not a channel"))
                .with_hint("write alpha, beta, stable or lts")
        })
    }
}

impl Releases {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        let client = self.transfer.client(reporter)?;
        let json = client.read(&Source::parse(LIST_URL)?, LIST_MAX)?;
        let mut list = ReleaseList::parse(&json)?;
        if let Some(ChannelWord(channel)) = self.channel {
            list = list.of(channel);
        }
        if self.json {
            return super::print_json(&list);
        }
        let head = ["version", "channel", "date", "for"];
        let head = head.into_iter().chain(SOFTWARE).map(str::to_owned);
        let mut rows: Vec<Vec<String>> = vec![head.collect()];
        rows.extend(list.0.iter().map(row));
        super::print(table(&rows, &[]))
    }
}

fn row(release: &ListedRelease) -> Vec<String> {
    let mut row = vec![
        release.version.clone(),
        release.channel.clone(),
        release.date.clone(),
        release.architectures.join(","),
    ];
    row.extend(SOFTWARE.map(|name| {
        let versions = release.software.get(name);
        versions
            .map(|versions| versions.join(","))
            .unwrap_or_default()
    }));
    row
}
