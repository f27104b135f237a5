use std::path::{Path, PathBuf};

use crate::block::shown;
use crate::flatcar::sysext::build::{Build, Means};
use crate::flatcar::sysext::recipe::{
    Choice, Chosen, RECIPE_MAX, Recipe, built_in, built_in_text, names,
};
use crate::machine::Arch;
use crate::{Error, Result};
use clap::{ArgGroup, Args, ValueHint};

use super::super::image::temp_dir;
use super::super::progress::Reporter;
use super::super::table::table;
use super::download::Downloads;
use super::given;
use super::pack::PackArgs;

/// Build a sysext of what its makers publish: tailscale, docker and others, by recipes
///
/// A recipe says what is fetched, what of it goes where, and which units and files come with it. What is fetched must have the
/// digest that is published for it, or that --sha256 gives. Without a network, --from names archives that are here.
#[derive(Debug, Args)]
#[command(
    name = "recipe",
    disable_version_flag = true,
    after_help = "\
Examples:
  flatbake sysext recipe --list
  flatbake sysext recipe docker --print
  flatbake sysext recipe tailscale --from tailscale_1.76.6_amd64.tgz -o tailscale.raw
  flatbake sysext recipe docker --from docker-28.0.4.tgz --name mydocker -o mydocker.raw --format erofs
  flatbake sysext recipe docker --from docker-28.0.4.tgz --only containerd -o mycontainerd.raw --name mycontainerd"
)]
#[command(group = ArgGroup::new("action").required(true).args(["output", "list", "print"]))]
pub struct RecipeCommand {
    /// The name of a recipe, or a file that ends in .yaml
    #[arg(value_name = "NAME|FILE", value_hint = ValueHint::FilePath, required_unless_present = "list")]
    recipe: Option<String>,
    /// The image to write; in a folder, it is called NAME-VERSION-ARCH.raw
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    output: Option<PathBuf>,
    /// The version to fetch; DOWNLOAD=VERSION for a download that has its own
    #[arg(long, value_name = "[DOWNLOAD=]VERSION")]
    version: Vec<String>,
    /// Take this file instead of fetching it; DOWNLOAD=FILE where its name does not tell which download it is
    #[arg(long, value_name = "[DOWNLOAD=]FILE", value_hint = ValueHint::FilePath)]
    from: Vec<String>,
    /// Only these parts
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// The SHA-256 that a download must have; DOWNLOAD=DIGITS where there are several
    #[arg(long, value_name = "[DOWNLOAD=]DIGITS")]
    sha256: Vec<String>,
    /// The name it is merged by [default: that of the recipe]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// List all recipes
    #[arg(long)]
    list: bool,
    /// Print the recipe, to start one of your own from
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    pack: PackArgs,
    #[cfg(feature = "fetch")]
    #[command(flatten)]
    fetching: super::super::fetch_args::FetchArgs,
    /// The machines it is for: amd64 or arm64
    #[cfg(not(feature = "fetch"))]
    #[arg(long, value_name = "ARCH", value_parser = super::super::argument::<Arch>, default_value = "amd64")]
    arch: Arch,
}

impl RecipeCommand {
    pub fn run(&self, reporter: &Reporter) -> Result<()> {
        if self.list {
            return list();
        }
        let name = self.recipe.as_deref().unwrap_or_default();
        if self.print {
            return super::super::print(built_in_text(name)?);
        }
        let recipe = read(name, reporter)?;
        let chosen = recipe.choose(&self.choice()?)?;
        let output = self.output(&recipe, &chosen)?;
        self.pack.refuse_existing(&output)?;
        let build = self.build(&recipe, reporter)?;
        let host = self.pack.host(reporter)?;
        let mut files = given::files(&chosen, &self.from, Path::new(""))?;
        let digests = given::digests(&chosen, &files, &self.sha256)?;
        let mut downloads = self.downloads(reporter)?;
        downloads.complete(&chosen, &mut files, &digests)?;
        let means = Means::with_inputs(reporter, temp_dir(), reporter.inputs().clone());
        let prepared = chosen.prepare(&files, build, host.as_ref(), &means)?;
        let built = self.pack.write(&prepared, &output, &means, reporter)?;
        for note in recipe.notes() {
            reporter.info(note);
        }
        self.pack.tell(&built, reporter)
    }

    fn choice(&self) -> Result<Choice> {
        let (version, of_downloads) = given::split("version", &self.version)?;
        Ok(Choice {
            version,
            versions: of_downloads,
            architecture: match self.arch()? {
                Arch::Amd64 => "x86-64".to_owned(),
                Arch::Arm64 => "arm64".to_owned(),
            },
            only: self.only.clone(),
        })
    }

    #[cfg(feature = "fetch")]
    fn arch(&self) -> Result<Arch> {
        self.fetching.check_arch()?;
        Ok(self.fetching.arch())
    }

    #[cfg(not(feature = "fetch"))]
    fn arch(&self) -> Result<Arch> {
        Ok(self.arch)
    }

    fn output(&self, recipe: &Recipe, chosen: &Chosen) -> Result<PathBuf> {
        let given = self.output.clone().unwrap_or_default();
        if !given.is_dir() {
            return Ok(given);
        }
        let number = chosen.number().ok_or_else(|| {
            Error::invalid("an image in a folder is named after its version, which is not given")
                .with_hint("give --version, or a file name to --output")
        })?;
        let name = self.name.as_deref().unwrap_or(recipe.name());
        let architecture = chosen.architecture();
        Ok(given.join(format!("{name}-{number}-{architecture}.raw")))
    }

    fn build(&self, recipe: &Recipe, reporter: &Reporter) -> Result<Build> {
        let name = self.name.as_deref().unwrap_or(recipe.name());
        self.pack.fill(Build::new("", name), reporter)
    }

    #[cfg(feature = "fetch")]
    fn downloads<'a>(&'a self, reporter: &'a Reporter) -> Result<Downloads<'a>> {
        Downloads::new(&self.fetching, &self.pack, reporter)
    }

    #[cfg(not(feature = "fetch"))]
    fn downloads<'a>(&'a self, reporter: &'a Reporter) -> Result<Downloads<'a>> {
        Ok(Downloads::new(&self.pack, reporter))
    }
}

/// A recipe by its name, or in a file.
pub(super) fn read(name: &str, reporter: &Reporter) -> Result<Recipe> {
    let is_file = name.ends_with(".yaml") || name.ends_with(".yml");
    match is_file {
        true => {
            let text = super::text_of(Path::new(name), "recipe", RECIPE_MAX, reporter)?;
            Recipe::parse(&text, &shown(Path::new(name)))
        }
        false => built_in(name),
    }
}

fn list() -> Result<()> {
    let mut rows = vec![
        ["name", "version", "parts", "what it brings"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for name in names() {
        let recipe = built_in(name)?;
        let mut version = recipe.example().to_owned();
        for (download, example) in recipe.own_versions() {
            version.push_str(&format!(", {download}={example}"));
        }
        let parts = match recipe.parts() {
            [] => "-".to_owned(),
            parts => parts.join(", "),
        };
        rows.push(vec![
            name.to_owned(),
            version,
            parts,
            recipe.summary().to_owned(),
        ]);
    }
    super::super::print(table(&rows, &[]))
}
