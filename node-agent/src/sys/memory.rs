//! Giving memory back.

use std::fs;

/// Gives free heap pages back to the kernel, and the program's code, which the kernel brings again
/// from the file when it runs: a process that sleeps for days needs neither.
pub fn release() {
    // SAFETY: malloc_trim may be called at any time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(code) {
        // SAFETY: the range is a private mapping of a file that is executable and not writable. No
        // relocation is ever written into such a mapping, so what is dropped is what the file has.
        unsafe {
            libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED);
        }
    }
}

/// The range of a line of `maps`, if it is code from a file.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" || !fields.nth(3)?.starts_with('/') {
        return None;
    }
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_from_files_is_dropped() {
        let check = |line, expected| assert_eq!(code(line), expected, "{line}");
        check("1000-3000 r-xp 00000000 fe:00 7 /bin/x", Some((0x1000, 0x2000)));
        check("1000-3000 r--p 00000000 fe:00 7 /bin/x", None);
        check("1000-3000 rw-p 00000000 fe:00 7 /bin/x", None);
        check("1000-3000 r-xp 00000000 00:00 0 [vdso]", None);
        check("1000-3000 r-xp 00000000 00:00 0", None);
    }

    #[test]
    fn a_program_goes_on_without_its_pages() {
        release();
        assert!(!format!("{:?}", std::time::SystemTime::now()).is_empty());
    }
}
