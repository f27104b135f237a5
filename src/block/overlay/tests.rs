//! An overlay and its forks against plain vectors, with budgets from nothing to plenty.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::MemoryDevice;
use super::*;
use crate::bytes::random::Random;

/// A base with data and holes in turns of `turn` bytes, which counts what is read.
#[derive(Debug)]
struct Base {
    bytes: Vec<u8>,
    turn: u64,
    read: AtomicU64,
}

impl Base {
    fn new(size: usize, turn: usize) -> Self {
        let byte = |at: usize| {
            if (at / turn).is_multiple_of(2) {
                u8::try_from(at % 251).unwrap() | 1
            } else {
                0
            }
        };
        Self {
            bytes: (0..size).map(byte).collect(),
            turn: to_u64(turn),
            read: AtomicU64::new(0),
        }
    }
}

impl BlockDevice for Base {
    fn size(&self) -> u64 {
        to_u64(self.bytes.len())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = check_range(offset, to_u64(buf.len()), self.size())?;
        self.read.fetch_add(to_u64(buf.len()), Ordering::Relaxed);
        buf.copy_from_slice(&self.bytes[to_usize(offset)?..to_usize(end)?]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        check_range(offset, 1, self.size())?;
        let kind = if (offset / self.turn).is_multiple_of(2) {
            ExtentKind::Data
        } else {
            ExtentKind::Zero
        };
        Ok(Extent {
            kind,
            len: (self.turn - offset % self.turn).min(self.size() - offset),
        })
    }
}

fn options(memory_budget: u64) -> OverlayOptions {
    OverlayOptions {
        memory_budget,
        ..OverlayOptions::new(std::env::temp_dir())
    }
}

fn over(base: Base, memory_budget: u64) -> (Overlay, Arc<Base>) {
    let base = Arc::new(base);
    (
        Overlay::new(
            Arc::clone(&base) as Arc<dyn BlockDevice>,
            options(memory_budget),
        )
        .unwrap(),
        base,
    )
}

/// Everything that can be asked of `overlay` agrees with `model`, and every changed byte lies in a changed range.
fn assert_same(overlay: &Overlay, model: &[u8], base: &Base) {
    assert_eq!(overlay.size(), to_u64(model.len()));
    let mut bytes = vec![1; model.len()];
    overlay.read_at(0, &mut bytes).unwrap();
    assert!(
        bytes == model,
        "content differs at {:?}",
        bytes.iter().zip(model).position(|(a, b)| a != b)
    );
    let mut at = 0;
    while at < model.len() {
        let extent = overlay.extent_at(to_u64(at)).unwrap();
        assert!(extent.len > 0);
        let end = at + to_usize(extent.len).unwrap();
        assert!(
            extent.kind == ExtentKind::Data || is_zero(&model[at..end]),
            "{at}..{end} is called zero"
        );
        at = end;
    }
    assert_eq!(at, model.len());
    let mut unchanged = base.bytes.clone();
    unchanged.resize(model.len(), 0);
    for (offset, len) in overlay.changed_ranges() {
        let range = to_usize(offset).unwrap()..to_usize(offset + len).unwrap();
        unchanged[range.clone()].copy_from_slice(&model[range]);
    }
    assert!(unchanged == model, "a change outside the changed ranges");
}

fn change(overlay: &Overlay, model: &mut Vec<u8>, random: &mut Random) {
    let size = to_u64(model.len());
    let offset = random.below_u64(size + 1);
    // One in three is aligned to a block, and one in nine to a chunk.
    let unit = [1, 1, 1, 1, 1, 1, BLOCK, BLOCK, CHUNK][to_usize(random.below_u64(9)).unwrap()];
    let offset = offset / unit * unit;
    let most = [1, 700, 5000, 3 * CHUNK][to_usize(random.below_u64(4)).unwrap()];
    let len = random
        .below_u64(most + 1)
        .div_ceil(unit)
        .saturating_mul(unit)
        .min(size - offset);
    let range = to_usize(offset).unwrap()..to_usize(offset + len).unwrap();
    match random.below_u64(20) {
        0 => {
            let new_size = size + random.below_u64(3 * BLOCK);
            overlay.grow(new_size).unwrap();
            model.resize(to_usize(new_size).unwrap(), 0);
        }
        1..6 => {
            overlay.write_zeroes(offset, len).unwrap();
            model[range].fill(0);
        }
        6..10 => {
            let mut bytes = vec![0; range.len()];
            overlay.read_at(offset, &mut bytes).unwrap();
            assert!(bytes == model[range], "{len} bytes at {offset} differ");
        }
        _ => {
            let bytes: Vec<u8> = range
                .clone()
                .map(|_| u8::try_from(random.below_u64(256)).unwrap())
                .collect();
            overlay.write_at(offset, &bytes).unwrap();
            model[range].copy_from_slice(&bytes);
        }
    }
}

#[test]
fn random_changes_and_forks_match_a_vector() {
    for (seed, (size, turn, budget)) in (1..).zip([
        (1_000_000, 70_000, 1 << 30),
        (300_001, 4096, 0),
        (777_777, 10_001, 100_000),
        (13, 5, 4096),
    ]) {
        let mut random = Random::new(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let (overlay, base) = over(Base::new(size, turn), budget);
        let mut all = vec![(overlay, base.bytes.clone())];
        for step in 0..900 {
            let which = to_usize(random.below_u64(to_u64(all.len()))).unwrap();
            if random.below_u64(60) == 0 && all.len() < 4 {
                let (overlay, model) = &all[which];
                all.push((overlay.fork(), model.clone()));
            } else if random.below_u64(120) == 0 && all.len() > 1 {
                all.swap_remove(which);
            } else {
                let (overlay, model) = &mut all[which];
                change(overlay, model, &mut random);
            }
            if step % 60 == 0 {
                all.iter()
                    .for_each(|(overlay, model)| assert_same(overlay, model, &base));
            }
        }
        all.iter()
            .for_each(|(overlay, model)| assert_same(overlay, model, &base));
        let store = Arc::clone(&all[0].0.store);
        drop(all);
        assert_eq!(
            store.memory_left.load(Ordering::Relaxed),
            budget,
            "the budget is given back"
        );
    }
}

#[test]
fn whole_blocks_are_written_without_reading_the_base() {
    let size = 3 * CHUNK + 100;
    let (overlay, base) = over(Base::new(to_usize(size).unwrap(), 1 << 20), 1 << 20);
    let bytes = vec![7; to_usize(size).unwrap()];
    overlay.write_at(0, &bytes).unwrap();
    overlay.write_at(5 * BLOCK, &bytes[..BLOCK_LEN]).unwrap();
    overlay.write_zeroes(CHUNK, CHUNK).unwrap();
    assert_eq!(base.read.load(Ordering::Relaxed), 0);
    assert_eq!(overlay.changed_ranges(), [(0, size)]);

    let (overlay, base) = over(Base::new(to_usize(size).unwrap(), 1 << 20), 1 << 20);
    overlay.write_at(10, &[1]).unwrap();
    assert_eq!(base.read.load(Ordering::Relaxed), BLOCK);
    assert_eq!(overlay.changed_ranges(), [(0, BLOCK)]);
}

#[test]
fn zeroes_take_no_room() {
    let (overlay, _) = over(Base::new(64 << 20, 32 << 20), 1 << 20);
    let left = || overlay.store.memory_left.load(Ordering::Relaxed);
    overlay.write_at(40 << 20, &[1; 100_000]).unwrap();
    assert!(left() < 1 << 20);
    overlay.write_zeroes(1, (64 << 20) - 1).unwrap();
    assert_eq!(
        left(),
        (1 << 20) - BLOCK,
        "only the block of byte 0 is kept"
    );
    assert!(overlay.store.slots.lock().unwrap().file.is_none());
    assert_eq!(
        overlay.extent_at(CHUNK).unwrap(),
        Extent {
            kind: ExtentKind::Zero,
            len: EXTENT_CAP
        }
    );
    // The hole of the base needs no marker where nothing had been written.
    assert_eq!(
        overlay.changed_ranges(),
        [(0, 32 << 20), (40 << 20, 25 * BLOCK)]
    );
}

#[test]
fn extents_of_the_base_are_merged_and_passed_through() {
    let (overlay, _) = over(Base::new(8 << 20, 1 << 20), 1 << 20);
    assert_eq!(
        overlay.extent_at(1 << 20).unwrap(),
        Extent {
            kind: ExtentKind::Zero,
            len: 1 << 20
        }
    );
    overlay
        .write_at((1 << 20) + 3 * CHUNK, &[1; BLOCK_LEN])
        .unwrap();
    assert_eq!(
        overlay.extent_at(1 << 20).unwrap(),
        Extent {
            kind: ExtentKind::Zero,
            len: 3 * CHUNK
        }
    );
    overlay.write_at(1 << 20, &vec![1; 1 << 20]).unwrap();
    assert_eq!(
        overlay.extent_at(5).unwrap(),
        Extent {
            kind: ExtentKind::Data,
            len: (3 << 20) - 5
        }
    );
    overlay.grow(100 << 20).unwrap();
    assert_eq!(
        overlay.extent_at(7 << 20).unwrap().len,
        EXTENT_CAP,
        "up to the cap"
    );
    assert_eq!(
        overlay.extent_at((100 << 20) - 1).unwrap(),
        Extent {
            kind: ExtentKind::Zero,
            len: 1
        }
    );
}

#[test]
fn refused() {
    let (overlay, _) = over(Base::new(10_000, 5000), 0);
    assert_eq!(
        overlay.grow(9999).unwrap_err().kind(),
        crate::ErrorKind::InvalidInput
    );
    assert_eq!(
        overlay.grow(u64::MAX).unwrap_err().kind(),
        crate::ErrorKind::InvalidInput
    );
    for offset in [9999, 10_000, u64::MAX] {
        assert!(overlay.write_at(offset, &[1, 2]).is_err());
        assert!(overlay.write_zeroes(offset, 2).is_err());
        assert!(overlay.read_at(offset, &mut [0; 2]).is_err());
    }
    assert!(overlay.extent_at(10_000).is_err());
    assert!(overlay.changed_ranges().is_empty());
    let base = Arc::new(MemoryDevice::new(vec![0; 10]));
    let error = Overlay::new(base, OverlayOptions::new("/does/not/exist")).unwrap_err();
    assert!(error.to_string().contains("/does/not/exist"), "{error}");
}

#[test]
fn a_failing_temporary_file_is_an_error_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let base = Arc::new(MemoryDevice::new(vec![0; 1 << 20]));
    let overlay = Overlay::new(
        base,
        OverlayOptions {
            memory_budget: 0,
            temp_dir: dir.path().to_owned(),
        },
    )
    .unwrap();
    dir.close().unwrap();
    let error = overlay.write_at(0, &[1; 5000]).unwrap_err();
    assert!(
        error.to_string().contains("temporary file") && error.hint().is_some(),
        "{error:?}"
    );
}

#[test]
fn forks_and_readers_in_threads_do_not_disturb_each_other() {
    const SIZE: usize = 4 << 20;
    let (overlay, base) = over(Base::new(SIZE, 100_000), 1 << 20);
    overlay.write_at(0, &vec![9; SIZE / 2]).unwrap();
    let forks: Vec<_> = (1..=4u8).map(|thread| (thread, overlay.fork())).collect();
    std::thread::scope(|scope| {
        for (thread, fork) in forks {
            let base = &base;
            scope.spawn(move || {
                let mut model = base.bytes.clone();
                model[..SIZE / 2].fill(9);
                let mut random = Random::new(u64::from(thread) << 40 | 1);
                for _ in 0..150 {
                    change(&fork, &mut model, &mut random);
                }
                assert_same(&fork, &model, base);
            });
            let overlay = &overlay;
            scope.spawn(move || {
                // Each writer has its own quarter of the shared overlay and reads it back.
                let start = u64::from(thread - 1) * to_u64(SIZE / 4);
                for round in 0..40u64 {
                    let at = start + round * 20_001;
                    overlay.write_at(at, &[thread; 30_000]).unwrap();
                    let mut bytes = [0; 30_000];
                    overlay.read_at(at, &mut bytes).unwrap();
                    assert!(bytes.iter().all(|&byte| byte == thread));
                }
            });
        }
    });
}

#[test]
fn only_an_overlay_that_nobody_wrote_to_is_untouched() {
    let (overlay, base) = over(Base::new(1 << 20, 100_000), 1 << 20);
    assert!(overlay.is_untouched());
    overlay.write_at(5, &base.bytes[5..9]).unwrap();
    assert!(
        !overlay.is_untouched(),
        "what was there already was written once more"
    );
    let ways: [fn(&Overlay) -> Result<()>; 3] = [
        |fork| fork.write_at(0, &[1]),
        |fork| fork.write_zeroes(0, 4096),
        |fork| fork.grow(2 << 20),
    ];
    for change in ways {
        let fork = overlay.fork();
        assert!(fork.is_untouched());
        change(&fork).unwrap();
        assert!(!fork.is_untouched() && fork.fork().is_untouched());
    }
}

#[test]
fn slots_of_a_dropped_fork_are_used_again() {
    let (overlay, _) = over(Base::new(2 << 20, 1 << 20), 0);
    let data = vec![5; 1 << 20];
    for _ in 0..10 {
        let fork = overlay.fork();
        fork.write_at(0, &data).unwrap();
    }
    assert_eq!(overlay.store.slots.lock().unwrap().next, 1 << 20);
}
