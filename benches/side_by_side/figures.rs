//! What the costs of many runs come to.

use crate::Result;
use crate::weigh::{Cost, output};
use std::fs;
use std::process::Command;

/// Milliseconds and megabytes.
pub(crate) struct Row {
    pub(crate) wall: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) cpu: f64,
    pub(crate) peak: f64,
}

impl Row {
    pub(crate) fn of(costs: &[Cost]) -> Row {
        let wall = sorted(costs.iter().map(|cost| cost.wall.as_secs_f64() * 1e3));
        let cpu = sorted(costs.iter().map(|cost| cost.cpu.as_secs_f64() * 1e3));
        let peak = sorted(costs.iter().map(|cost| cost.peak as f64 * 1024.0 / 1e6));
        Row {
            wall: at(&wall, 0.5),
            low: at(&wall, 0.1),
            high: at(&wall, 0.9),
            cpu: at(&cpu, 0.5),
            peak: at(&peak, 1.0),
        }
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which `share` of the sorted values lie.
fn at(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// The date, the machine and the versions, in one line.
pub(crate) fn machine() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let hypervisor = if cpus.contains(" hypervisor") { ", virtual machine" } else { "" };
    let load = fs::read_to_string("/proc/loadavg")?;
    let date = output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let go =
        output(Command::new("dpkg-query").args(["-W", "-f", "${Version}", "containernetworking-plugins"]))?;
    Ok(format!(
        "{}, {} × {}{hypervisor}, Linux {}, containernetworking-plugins {go}, load {} at the start",
        date.trim(),
        cpus.matches("processor\t").count(),
        model.trim_start_matches(['\t', ' ', ':']),
        kernel.trim().split('-').next().unwrap_or_default(),
        load.split(' ').next().unwrap_or_default(),
    ))
}
