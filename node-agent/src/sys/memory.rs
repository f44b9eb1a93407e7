//! Giving memory back.

use std::fs;

/// Gives free heap pages back to the kernel, and what is mapped of the program's files, which the
/// kernel brings again when it is needed: a process that sleeps for days needs neither. Only for a
/// process of one thread.
pub fn release() {
    // SAFETY: malloc_trim may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = fs::read_to_string("/proc/self/smaps") else { return };
    for (start, length) in clean_files(&maps) {
        // SAFETY: the range is a private mapping of a file that cannot be written and has no page
        // that differs from the file (neither relocated nor copied), so dropping its pages changes
        // nothing that can be read there; nobody else runs to map something else in between.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// Gives the pages of the program's own code back to the kernel, most of which only its start
/// needed; those that are needed still come again. For a process of any number of threads.
pub fn release_code() {
    let program = fs::read_link("/proc/self/exe");
    let maps = fs::read_to_string("/proc/self/smaps");
    let (Ok(program), Ok(maps)) = (program, maps) else { return };
    let Some(program) = program.to_str() else { return };
    for (start, length) in clean_code(&maps, program) {
        // SAFETY: the range is the program's own code, which no thread ever unmaps or writes to,
        // and has no page that differs from the file, so dropping its pages changes nothing that
        // can be read there.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// The ranges that show nothing but what their files have.
fn clean_files(smaps: &str) -> Vec<(usize, usize)> {
    clean(smaps, &file_range)
}

/// Those of one file that can be executed.
fn clean_code(smaps: &str, program: &str) -> Vec<(usize, usize)> {
    clean(smaps, &|line| {
        let is_code = line.contains(" r-xp ") && line.ends_with(&format!(" {program}"));
        is_code.then(|| file_range(line)).flatten()
    })
}

/// The ranges that `choose` takes and that have no page of their own.
fn clean(smaps: &str, choose: &dyn Fn(&str) -> Option<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut clean = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        if let Some(own) = line.strip_prefix("Anonymous:") {
            if own.trim() == "0 kB" {
                clean.extend(candidate.take());
            }
        } else if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            candidate = choose(line);
        }
    }
    clean
}

/// The range of a mapping's first line, if it is a file's that cannot be written.
fn file_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let flags = fields.next()?;
    let readable = flags == "r-xp" || flags == "r--p";
    (readable && fields.nth(3)?.starts_with('/')).then_some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_files_have_is_dropped() {
        let smaps = "\
1000-3000 r-xp 00000000 fe:00 7 /bin/x
Rss: 8 kB
Anonymous:             0 kB
3000-4000 r--p 00002000 fe:00 7 /bin/x
Anonymous:             4 kB
4000-5000 rw-p 00003000 fe:00 7 /bin/x
Anonymous:             0 kB
5000-6000 r--p 00000000 fe:00 8 /lib/y
Anonymous:             0 kB
7000-8000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";
        assert_eq!(clean_files(smaps), [(0x1000, 0x2000), (0x5000, 0x1000)]);
        assert_eq!(clean_code(smaps, "/bin/x"), [(0x1000, 0x2000)]);
        assert_eq!(clean_code(smaps, "/bin/y"), []);
    }
}
