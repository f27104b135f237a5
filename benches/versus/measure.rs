//! Runs commands and tells what they took.

use std::path::Path;
use std::process::Command;

/// What one run took.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Seconds of user and system time.
    pub cpu: f64,
    pub wall: f64,
    /// Of the largest process.
    pub peak_mib: f64,
}

impl Cost {
    /// The medians of times and the largest peak.
    pub fn median(runs: &[Self]) -> Self {
        let median = |value: fn(&Self) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            cpu: median(|run| run.cpu),
            wall: median(|run| run.wall),
            peak_mib: runs.iter().map(|run| run.peak_mib).fold(0.0, f64::max),
        }
    }

    /// How much of the cores was used.
    pub fn utilisation(&self, cores: usize) -> f64 {
        self.cpu / (self.wall * cores as f64)
    }
}

/// Runs a shell command under GNU time.
pub fn measure(command: &str, dir: &Path) -> Cost {
    let report = dir.join("time");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let status = Command::new("/usr/bin/time")
        .args([
            "-f",
            "%U %S %e %M",
            "-o",
            report.to_str().unwrap(),
            "sh",
            "-ec",
            command,
        ])
        .env("PATH", path)
        .status()
        .unwrap();
    assert!(status.success(), "{command}");
    let text = std::fs::read_to_string(report).unwrap();
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    Cost {
        cpu: numbers[0] + numbers[1],
        wall: numbers[2].max(0.01),
        peak_mib: numbers[3] / 1024.0,
    }
}

/// Runs a shell command that must succeed, and returns what it prints.
pub fn shell(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-ec", &format!("PATH=$PATH:/usr/sbin:/sbin; {command}")])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Those of `tools` that are not installed.
pub fn missing<'a>(tools: &[&'a str]) -> Vec<&'a str> {
    let there = |tool: &str| {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin command -v {tool} >/dev/null");
        Command::new("sh")
            .args(["-c", &command])
            .status()
            .is_ok_and(|status| status.success())
    };
    tools.iter().copied().filter(|tool| !there(tool)).collect()
}
