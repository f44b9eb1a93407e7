//! Ours and a rival etcd on the same machine, in alternating runs, as ratios.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::load::{self, Load};
use super::members::{Members, Side};
use super::outcome::Outcome;
use super::plot::{self, Plot, Scale};
use super::report;
use super::spread::{Spread, median};

/// `keelson bench compare`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The rival's binary; it is started with etcd's flags.
    #[arg(long, default_value = "etcd")]
    pub rival: PathBuf,
    /// A keelson binary to measure instead of this one, as to compare builds.
    #[arg(long)]
    pub ours: Option<PathBuf>,
    /// Numbers of members to try.
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    pub members: Vec<usize>,
    /// What to load them with.
    #[command(flatten)]
    pub load: Load,
    /// Runs of each side; they alternate, and every second pair goes the other way round.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Where the members keep their data while it runs.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
    /// Print JSON lines instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write charts of rates, latencies and CPU to this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// One setting and what both sides came to, a pair of outcomes a round.
struct Setting {
    members: usize,
    clients: usize,
    name: String,
    sides: [Vec<Outcome>; 2],
}

/// What is compared: its name, its key in JSON, and how it is had from an outcome.
struct Figure {
    title: &'static str,
    key: &'static str,
    of: fn(&Outcome) -> f64,
}

const FIGURES: [Figure; 7] = [
    Figure { title: "PER SECOND", key: "perSecond", of: Outcome::rate },
    Figure { title: "P50 MS", key: "p50Millis", of: |outcome| outcome.millis(0.5) },
    Figure { title: "P99 MS", key: "p99Millis", of: |outcome| outcome.millis(0.99) },
    Figure {
        title: "SERVER CPU µS",
        key: "serverCpuMicros",
        of: |outcome| outcome.server_micros().unwrap_or(f64::NAN),
    },
    Figure {
        title: "MIB",
        key: "serverMib",
        of: |outcome| outcome.took.server_memory.unwrap_or(0) as f64 / f64::from(1 << 20),
    },
    Figure {
        title: "PEAK MIB",
        key: "serverPeakMib",
        of: |outcome| outcome.took.server_peak.unwrap_or(0) as f64 / f64::from(1 << 20),
    },
    Figure { title: "CLIENT CPU µS", key: "clientCpuMicros", of: Outcome::client_micros },
];

impl Setting {
    fn figures(&self, figure: &Figure) -> [Vec<f64>; 2] {
        let of = |side: &Vec<Outcome>| side.iter().map(|outcome| (figure.of)(outcome)).collect();
        [of(&self.sides[0]), of(&self.sides[1])]
    }

    /// Ours by the rival's, round by round.
    fn ratios(&self, figure: &Figure) -> Vec<f64> {
        let [ours, rival] = self.figures(figure);
        ours.iter().zip(&rival).map(|(ours, rival)| ours / rival).collect()
    }

    fn connections(&self) -> usize {
        self.sides[0].first().map_or(0, |outcome| outcome.connections)
    }

    fn label(&self) -> String {
        let plural = if self.members == 1 { "member" } else { "members" };
        format!("{} {plural}, {} × {}", self.members, self.name, self.clients)
    }

    fn json(&self) -> Value {
        let side = |index: usize| -> Value {
            let outcomes = &self.sides[index];
            let figures: serde_json::Map<String, Value> = FIGURES
                .iter()
                .map(|figure| {
                    let figures = &self.figures(figure)[index];
                    (figure.key.to_owned(), Spread::of(figures).json())
                })
                .collect();
            json!({
                "figures": figures,
                "rounds": outcomes.iter().map(report::value).collect::<Vec<_>>(),
            })
        };
        let ratios: serde_json::Map<String, Value> = FIGURES
            .iter()
            .map(|figure| (figure.key.to_owned(), Spread::of(&self.ratios(figure)).json()))
            .collect();
        json!({
            "members": self.members,
            "workload": self.name,
            "clients": self.clients,
            "connections": self.connections(),
            "streams": self.sides[0].first().and_then(|outcome| outcome.streams),
            "keelson": side(0),
            "rival": side(1),
            "ratios": ratios,
        })
    }
}

/// Runs all rounds and prints medians, their spread, and the ratios.
pub async fn run(options: Options) -> Result<()> {
    options.load.check()?;
    if options.rounds == 0 || options.members.contains(&0) {
        bail!("--rounds and --members must be at least 1");
    }
    if let Some(svg) = &options.svg {
        plot::check(svg)?;
    }
    let sides = [Side::Ours(options.ours.clone()), Side::Rival(options.rival.clone())];
    eprintln!("rival: {}", sides[1].version()?);
    let mut settings = Vec::new();
    for members in &options.members {
        for (workload, clients) in options.load.each() {
            let mut setting = Setting {
                members: *members,
                clients,
                name: workload.name(),
                sides: [Vec::new(), Vec::new()],
            };
            for round in 0..options.rounds {
                let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
                for side in order {
                    let cluster = Members::start(&sides[side], *members, &options.work_dir).await?;
                    let (target, pids) = (cluster.target(), cluster.pids());
                    let mut load = options.load.clone();
                    let of = format!("{}-{members}", sides[side].name());
                    load.profile = load.profile.map(|dir| dir.join(of));
                    let outcome = load::one(&target, &load, &pids, workload, clients).await?;
                    report::warn(&outcome);
                    setting.sides[side].push(outcome);
                }
            }
            if options.json {
                println!("{}", setting.json());
            }
            settings.push(setting);
        }
    }
    if !options.json {
        table(&settings);
    }
    if let Some(svg) = &options.svg {
        plot::write(svg, "keelson and a rival etcd", &plots(&settings))?;
    }
    Ok(())
}

fn table(settings: &[Setting]) {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let head = ["MEMBERS", "WORKLOAD", "CLIENTS", "CONNECTIONS", ""].map(str::to_owned).to_vec();
    let titles = FIGURES.iter().map(|figure| figure.title.to_owned());
    table.set_header(head.into_iter().chain(titles).collect::<Vec<_>>());
    for setting in settings {
        let head = |what: &str| {
            let numbers = [setting.members, setting.clients, setting.connections()];
            let [members, clients, connections] = numbers.map(|number| number.to_string());
            vec![members, setting.name.clone(), clients, connections, what.to_owned()]
        };
        for (side, name) in ["keelson", "rival"].into_iter().enumerate() {
            let mut row = head(name);
            if setting.sides[side].iter().any(Outcome::skipped) {
                row.push("skipped".to_owned());
            } else {
                let figures = FIGURES.iter().map(|figure| &figure.of);
                row.extend(figures.map(|of| {
                    let figures: Vec<f64> = setting.sides[side].iter().map(of).collect();
                    Spread::of(&figures).text()
                }));
            }
            table.add_row(row);
        }
        if !setting.sides.iter().flatten().any(Outcome::skipped) {
            let mut row = head("ratio");
            row.extend(FIGURES.iter().map(|figure| Spread::of(&setting.ratios(figure)).text()));
            table.add_row(row);
        }
    }
    for column in table.column_iter_mut().skip(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}

fn plots(settings: &[Setting]) -> Vec<Plot> {
    let both = |title: &str, figure: &Figure, scale| Plot {
        title: title.to_owned(),
        scale,
        series: vec!["keelson".to_owned(), "rival".to_owned()],
        rows: settings
            .iter()
            .map(|setting| {
                let figures = setting.figures(figure);
                (setting.label(), figures.map(|side| Some(median(&side))).to_vec())
            })
            .collect(),
    };
    let quantiles = [0.5, 0.9, 0.99, 0.999];
    let latency = |setting: &Setting, side: usize, name: &str| {
        let at = |quantile: f64| {
            let figures: Vec<f64> =
                setting.sides[side].iter().map(|outcome| outcome.millis(quantile)).collect();
            Some(median(&figures))
        };
        (format!("{}, {name}", setting.label()), quantiles.map(at).to_vec())
    };
    vec![
        both("done a second (more is better)", &FIGURES[0], Scale::Linear),
        both("server CPU each, µs, all members together (less is better)", &FIGURES[3], Scale::Log),
        Plot {
            title: "latency, ms (less is better; logarithmic)".to_owned(),
            scale: Scale::Log,
            series: ["p50", "p90", "p99", "p99.9"].map(str::to_owned).to_vec(),
            rows: settings
                .iter()
                .flat_map(|setting| [latency(setting, 0, "keelson"), latency(setting, 1, "rival")])
                .collect(),
        },
    ]
}
