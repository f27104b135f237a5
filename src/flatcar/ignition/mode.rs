//! Permission bits.

/// All of them.
pub(in crate::flatcar) const ALL: i64 = 0o7777;
/// Setuid, setgid and sticky.
pub(in crate::flatcar) const SPECIAL: i64 = 0o7000;

/// The mode that was likely meant, where the digits of `mode` in decimal are a usual mode in octal, and `mode` itself is
/// none: 644, which is 01204, was meant as 0644.
pub(in crate::flatcar) fn meant_as_octal(mode: i64, is_directory: bool) -> Option<i64> {
    let meant = i64::from_str_radix(&mode.to_string(), 8).ok()?;
    let is_typo = !is_usual(mode, is_directory) && is_usual(meant, is_directory);
    is_typo.then_some(meant)
}

/// Whether nobody wonders about a mode: no class of users may do more than the one before it, and who may write or
/// execute may read; folders can be entered by those who can list them.
fn is_usual(mode: i64, is_directory: bool) -> bool {
    if !(0..=ALL).contains(&mode) {
        return false;
    }
    let [owner, group, others] = [mode >> 6 & 7, mode >> 3 & 7, mode & 7];
    let falls = owner & group == group && group & others == others;
    let makes_sense = |bits: i64| {
        let reads = bits & 4 != 0;
        let enters = bits & 1 != 0;
        match is_directory {
            true => bits == 0 || enters && (reads || bits & 2 == 0),
            false => bits == 0 || reads,
        }
    };
    falls && [owner, group, others].into_iter().all(makes_sense)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_decimal_are_told_from_others() {
        for (mode, meant) in [
            (644, Some(0o644)),
            (600, Some(0o600)),
            (755, Some(0o755)),
            (400, Some(0o400)),
            (0o644, None),
            (0o600, None),
            (0o755, None),
            (0o400, None),
            (0o4755, None),
            (0, None),
            (888, None),
            (-644, None),
        ] {
            assert_eq!(meant_as_octal(mode, false), meant, "{mode}");
        }
        assert_eq!(meant_as_octal(755, true), Some(0o755));
        assert_eq!(meant_as_octal(0o1777, true), None);
        assert_eq!(meant_as_octal(0o711, true), None);
    }
}
