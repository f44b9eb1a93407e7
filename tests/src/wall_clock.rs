//! Wall clocks of members that jump while they run, without a change of the machine's: a small
//! library, compiled when it is needed and preloaded, adds what a file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The clocks of some processes.
pub struct WallClocks {
    library: PathBuf,
    offsets: Vec<PathBuf>,
}

impl WallClocks {
    /// So many clocks, all right; their files are in `dir`.
    pub fn new(dir: &Path, count: usize) -> Result<Self> {
        let (source, library) = (dir.join("wall_clock.c"), dir.join("wall_clock.so"));
        fs::write(&source, include_str!("wall_clock.c"))?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
        let status = compile.status().context("run cc")?;
        ensure!(status.success(), "{compile:?}: {status}");
        let offsets: Vec<PathBuf> =
            (0..count).map(|index| dir.join(format!("clock-{index}"))).collect();
        for path in &offsets {
            fs::write(path, 0i64.to_ne_bytes())?;
        }
        Ok(Self { library, offsets })
    }

    /// What the environment of a process says that has this clock.
    pub fn variables(&self, index: usize) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".to_owned(), text(&self.library)),
            ("KEELSON_TEST_CLOCK".to_owned(), text(&self.offsets[index])),
        ]
    }

    /// From now on a clock is so many seconds fast; slow, below zero.
    pub fn jump(&self, index: usize, seconds: i64) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let file = fs::File::options().write(true).open(&self.offsets[index])?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
