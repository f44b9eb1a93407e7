//! Profiles of the servers during a load, as flame graphs: `perf` records, the drawing is ours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::plot::escape;

/// Samples a second and core.
const FREQUENCY: &str = "499";
/// How stacks are found: from the tables that every build has, as there are no frame pointers.
const STACKS: &str = "dwarf,16384";
const WIDTH: f64 = 1400.0;
const ROW: f64 = 17.0;
/// Narrower frames are left out.
const WIDTH_MIN: f64 = 0.4;
/// Deepest stack that is drawn.
const DEPTH_MAX: usize = 96;

/// Refuses where no profile could be made.
pub(crate) fn check(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let version = Command::new("perf").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        bail!("--profile needs the program perf (Debian: linux-perf), which is not there");
    }
    Ok(())
}

/// A profile that is being recorded.
pub(crate) struct Recording {
    perf: Child,
    dir: PathBuf,
    data: PathBuf,
}

impl Recording {
    /// Of these processes, all their threads.
    pub(crate) fn start(dir: &Path, pids: &[u32]) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        let data = dir.join(format!("perf-{}.data", std::process::id()));
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let perf = Command::new("perf")
            .args(["record", "--quiet", "--freq", FREQUENCY, "--call-graph", STACKS, "--output"])
            .arg(&data)
            .args(["--pid", &pids.join(",")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start perf record")?;
        Ok(Self { perf, dir: dir.to_owned(), data })
    }

    /// Ends it and writes `NAME.svg`.
    pub(crate) fn finish(self, name: &str) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.perf.id())?), Signal::SIGINT)?;
        let ended = self.perf.wait_with_output().context("perf record")?;
        let script = Command::new("perf")
            .args(["script", "--no-inline", "--fields", "comm,ip,sym", "--input"])
            .arg(&self.data)
            .stderr(Stdio::null())
            .output()
            .context("perf script")?;
        let _large_and_of_no_more_use = std::fs::remove_file(&self.data);
        let root = fold(&String::from_utf8_lossy(&script.stdout));
        if root.samples == 0 {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            bail!("perf recorded nothing: {}", said.trim());
        }
        let file = name.replace(" × ", "-").replace(['/', ' '], "-");
        let path = self.dir.join(format!("{file}.svg"));
        std::fs::write(&path, svg(name, &root))
            .with_context(|| format!("write {}", path.display()))?;
        eprintln!("profile: {}", path.display());
        Ok(())
    }
}

/// A function as called by those above it.
#[derive(Debug, Default)]
struct Frame {
    samples: u64,
    callees: BTreeMap<String, Frame>,
}

impl Frame {
    fn depth(&self) -> usize {
        1 + self.callees.values().map(Self::depth).max().unwrap_or(0)
    }
}

/// Adds up stacks as `perf script` prints them: a line with the thread's name, a line a function
/// from the innermost out, an empty line.
fn fold(script: &str) -> Frame {
    let mut root = Frame::default();
    let (mut thread, mut stack) = (None::<String>, Vec::new());
    for line in script.lines().chain([""]) {
        let text = line.trim();
        if text.is_empty() {
            if let Some(thread) = thread.take() {
                add(&mut root, thread, &mut stack);
            }
        } else if thread.is_none() {
            thread = Some(text.trim_end_matches(':').to_owned());
        } else if let Some((_, symbol)) = text.split_once(' ') {
            stack.push(plain(symbol));
        }
    }
    root
}

fn add(root: &mut Frame, thread: String, stack: &mut Vec<String>) {
    root.samples += 1;
    let mut frame = root.callees.entry(thread).or_default();
    frame.samples += 1;
    for name in stack.drain(..).rev().take(DEPTH_MAX) {
        frame = frame.callees.entry(name).or_default();
        frame.samples += 1;
    }
}

/// A function's name without the hash that the compiler adds, and without what came behind it.
fn plain(symbol: &str) -> String {
    let symbol = symbol.split("+0x").next().unwrap_or(symbol);
    match symbol.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => symbol.to_owned(),
    }
}

fn svg(title: &str, root: &Frame) -> String {
    let height = (root.depth().min(DEPTH_MAX + 2) as f64 + 2.0) * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"monospace\" font-size=\"11\">\n\
         <style>.title{{fill:#222}}.back{{fill:#fff}}\
         @media(prefers-color-scheme:dark){{.title{{fill:#ddd}}.back{{fill:#16181c}}}}\
         rect:hover{{stroke:#000}}</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"8\" y=\"14\">{}: {} samples of CPU</text>\n",
        escape(title),
        root.samples
    );
    let scale = WIDTH / root.samples as f64;
    row(&mut out, root, 0.0, 1.5, scale, root.samples);
    out.push_str("</svg>\n");
    out
}

fn row(out: &mut String, frame: &Frame, left: f64, depth: f64, scale: f64, all: u64) {
    let mut x = left;
    for (name, callee) in &frame.callees {
        let width = callee.samples as f64 * scale;
        if width >= WIDTH_MIN {
            let share = callee.samples as f64 / all as f64 * 100.0;
            let room = (width / 6.8) as usize;
            let shown: String =
                if room < 3 { String::new() } else { name.chars().take(room).collect() };
            let _infallible = writeln!(
                out,
                "<g><title>{name}: {} samples, {share:.2} %</title><rect x=\"{x:.1}\" \
                 y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\" rx=\"1\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#111\">{}</text></g>",
                callee.samples,
                ROW - 1.0,
                colour(name),
                x + 2.0,
                depth * ROW + 12.0,
                escape(&shown),
                name = escape(name),
                y = depth * ROW,
            );
            row(out, callee, x, depth + 1.0, scale, all);
        }
        x += width;
    }
}

/// Warm, and always the same for a name.
fn colour(name: &str) -> String {
    let hash =
        name.bytes().fold(17_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    format!("rgb({},{},{})", 205 + hash % 50, 100 + (hash >> 8) % 120, 60 + (hash >> 16) % 50)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_add_up_from_the_outermost_function() {
        let script = "store:\n  55d0 keelson::put::h0123456789abcdef\n  55d1 main\n\n\
                      store:\n  55d2 keelson::get+0x12\n  55d1 main\n\n\
                      net worker:\n  ffff [unknown]\n";
        let root = fold(script);
        assert_eq!(root.samples, 3);
        let main = &root.callees["store"].callees["main"];
        assert_eq!(main.samples, 2);
        let names: Vec<&str> = main.callees.keys().map(String::as_str).collect();
        assert_eq!(names, ["keelson::get", "keelson::put"]);
        assert_eq!(root.callees["net worker"].samples, 1);
        let text = svg("put × 1", &root);
        assert_eq!(text.matches("<g>").count(), 6);
        assert!(text.contains("main: 2 samples, 66.67 %"));
    }
}
