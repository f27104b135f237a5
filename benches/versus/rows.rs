//! What is compared, and how much better flatbake has to be.

use std::path::{Path, PathBuf};

use super::disk::{ROOT_MIB, ROOT_START_MIB};

/// The most that flatbake may take of what the usual tool takes.
#[derive(Clone, Copy, Default)]
pub struct Bars {
    pub cpu: Option<f64>,
    pub wall: Option<f64>,
    /// Size of the output.
    pub size: Option<f64>,
    /// Memory of flatbake for each thread, in MiB, on top of 64 MiB.
    pub peak_per_thread: Option<f64>,
}

/// A comparison: a line of the table.
pub struct Row {
    pub name: &'static str,
    pub tools: &'static [&'static str],
    /// What is done before each run of the usual tool, and not measured.
    pub prepare: String,
    /// Commands, and the output whose size is told.
    pub usual: (String, PathBuf),
    pub flatbake: (String, PathBuf),
    pub bars: Bars,
}

/// The rows that read or write whole disks: `image` is the raw one, `image`.bz2 the compressed one.
pub fn rows(dir: &Path, image: &Path, cores: usize) -> Vec<Row> {
    let flatbake = env!("CARGO_BIN_EXE_flatbake");
    let raw = image.display().to_string();
    let bz2 = format!("{raw}.bz2");
    let sysext = dir.join("sysext.raw").display().to_string();
    let row = |name, tools, extension: &str, usual: &dyn Fn(&str) -> String, ours: &str, bars| {
        let file = |side: &str| dir.join(format!("{side}.{extension}"));
        let usual_out = file("usual");
        let our_out = file("our");
        let usual = usual(&usual_out.display().to_string());
        let ours = format!("{flatbake} {ours}").replace("OUT", &our_out.display().to_string());
        Row {
            name,
            tools,
            prepare: String::new(),
            usual: (usual, usual_out),
            flatbake: (ours, our_out),
            bars,
        }
    };
    let bars = |cpu, wall, size, chunk| Bars {
        cpu: Some(cpu),
        wall,
        size,
        peak_per_thread: Some(chunk),
    };
    let decompress = |out: &str| {
        format!(
            "lbzip2 -d -n{cores} -k -c {bz2} | dd of={out} bs=1M conv=sparse iflag=fullblock status=none"
        )
    };
    let qemu = |input: &str, out: &str, options: &str| {
        format!("qemu-img convert -f raw {options} {input} {out}")
    };
    const QCOW2: &str = "-c -m 16 -W -O qcow2";
    let convert = |options: &str| format!("convert --quiet --overwrite {raw} OUT {options}");
    vec![
        row(
            "bz2 -> raw",
            &["lbzip2"],
            "raw",
            &decompress,
            &format!("convert --quiet --overwrite --no-cache {bz2} OUT"),
            bars(0.45, Some(0.5), None, 0.9),
        ),
        row(
            "raw -> bz2",
            &["lbzip2"],
            "bz2",
            &|out| format!("lbzip2 -9 -n{cores} -k -c {raw} > {out}"),
            &convert(""),
            bars(0.55, None, Some(1.03), 0.9),
        ),
        row(
            "raw -> qcow2",
            &["qemu-img"],
            "qcow2",
            &|out| qemu(&raw, out, QCOW2),
            &convert(""),
            bars(0.42, Some(0.6), Some(1.03), 0.25),
        ),
        // QEMU's only level is 3; flatbake's is the one it uses by default, and has to come to the same size.
        row(
            "raw -> qcow2, zstd",
            &["qemu-img"],
            "qcow2",
            &|out| qemu(&raw, out, &format!("{QCOW2} -o compression_type=zstd")),
            &convert("--compression-type zstd"),
            bars(0.8, None, Some(1.03), 0.25),
        ),
        row(
            "raw -> vmdk, streamOptimized",
            &["qemu-img"],
            "vmdk",
            &|out| qemu(&raw, out, "-m 16 -O vmdk -o subformat=streamOptimized"),
            &convert("--format vmdk_stream"),
            bars(0.45, Some(0.3), Some(1.03), 0.25),
        ),
        row(
            "raw -> gz",
            &["pigz"],
            "gz",
            &|out| format!("pigz -6 -p{cores} -k -c {raw} > {out}"),
            &convert(""),
            bars(0.6, None, Some(1.03), 1.0),
        ),
        row(
            "raw -> zst, level 3",
            &["zstd"],
            "zst",
            &|out| format!("zstd -q -f -T{cores} -3 {raw} -o {out}"),
            &convert("--compress zst:3"),
            Bars::default(),
        ),
        row(
            "raw -> xz, level 6",
            &["xz"],
            "xz",
            &|out| format!("xz -6 -T{cores} -k -c {raw} > {out}"),
            &convert("--compress xz:6"),
            Bars::default(),
        ),
        row(
            "bz2 + 60 MB sysext -> qcow2",
            &["lbzip2", "debugfs", "qemu-img"],
            "qcow2",
            // The usual route without root: decompress, cut ROOT out, write into it, put it back, convert.
            &|out| {
                let scratch = format!("{out}.raw");
                let root = format!("{out}.root");
                format!(
                    "{}; dd if={scratch} of={root} bs=1M skip={ROOT_START_MIB} count={ROOT_MIB} conv=sparse status=none; \
                     debugfs -w -R 'write {sysext} sysext.raw' {root} 2>/dev/null >&2; \
                     dd if={root} of={scratch} bs=1M seek={ROOT_START_MIB} conv=notrunc,sparse status=none; {}",
                    decompress(&scratch),
                    qemu(&scratch, out, QCOW2)
                )
            },
            &format!(
                "bake --quiet --overwrite --format qcow2 --output OUT --image {bz2} --no-cache --root-file {sysext}:/sysext.raw"
            ),
            Bars::default(),
        ),
        several(dir, flatbake, &raw),
        vendors(dir, flatbake, &raw, &sysext),
    ]
}

impl Row {
    /// What an earlier flatbake takes for the same, in terms of which this one is told; `None` where the row is not one of
    /// its commands. What the earlier one writes is called by another name.
    pub fn beside(mut self, earlier: &str) -> Option<Self> {
        let (ours, output) = &self.flatbake;
        let flatbake = env!("CARGO_BIN_EXE_flatbake");
        if !ours.contains(flatbake) {
            return None;
        }
        let name = output.file_name()?.to_str()?;
        let other = output.with_file_name(format!("earlier-{name}"));
        let command = ours
            .replace(flatbake, earlier)
            .replace(output.to_str()?, other.to_str()?);
        self.usual = (command, other);
        self.tools = &[];
        self.bars = Bars::default();
        Some(self)
    }
}

/// Several outputs of one compressed image, at a time and one after the other.
fn several(dir: &Path, flatbake: &str, raw: &str) -> Row {
    let at = |name: &str| dir.join(name).display().to_string();
    let base = at("base.qcow2");
    let outs = [
        "several.qcow2",
        "several.vhd",
        "several.vdi",
        "several.raw",
        "several.bin.gz",
        "several.bin.zst",
    ]
    .map(at);
    let one_by_one = outs
        .iter()
        .map(|out| format!("{flatbake} convert --quiet --overwrite {base} {out}"))
        .collect::<Vec<_>>();
    let also = outs[1..]
        .iter()
        .map(|out| format!("--also {out}"))
        .collect::<Vec<_>>();
    Row {
        name: "qcow2 -> six outputs (one by one)",
        tools: &[],
        prepare: format!("test -e {base} || {flatbake} convert --quiet {raw} {base}"),
        usual: (one_by_one.join("; "), dir.join("several.qcow2")),
        flatbake: (
            format!(
                "{flatbake} convert --quiet --overwrite {base} {} {}",
                outs[0],
                also.join(" ")
            ),
            dir.join("several.qcow2"),
        ),
        bars: Bars {
            cpu: Some(0.85),
            ..Bars::default()
        },
    }
}

/// What it takes to make ten vendors' disks of one bake, without writing them, in terms of one; the outputs are the plans.
fn vendors(dir: &Path, flatbake: &str, raw: &str, sysext: &str) -> Row {
    const TEN: &str = "hetzner,akamai,ami,azure,gce,openstack,scaleway,stackit,vagrant,vmware";
    let images = dir.join("images").display().to_string();
    let bake = |vendors: &str, plan: &str| {
        let plan = dir.join(plan);
        let arguments =
            format!("--image {raw} --output-dir {images} --root-file {sysext}:/sysext.raw");
        let bake =
            format!("{flatbake} bake --quiet --dry-run --no-oem {arguments} --vendor {vendors}");
        (format!("{bake} > {}", plan.display()), plan)
    };
    Row {
        name: "bake for ten vendors (for one)",
        tools: &[],
        prepare: String::new(),
        usual: bake("hetzner", "one.plan"),
        flatbake: bake(TEN, "ten.plan"),
        bars: Bars {
            cpu: Some(1.0 + 0.25 * 10.0),
            ..Bars::default()
        },
    }
}
