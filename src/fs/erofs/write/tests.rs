//! What EROFS cannot hold, and what is made of little.

use super::*;
use crate::error::ErrorKind;

#[test]
fn options_out_of_range_are_refused() {
    let lz4 = |cluster_bytes| ErofsOptions {
        compression: ErofsCompression::Lz4 { cluster_bytes },
        ..Default::default()
    };
    for cluster_bytes in [0, 2048, 5000, 2 << 20] {
        let error = check(&lz4(cluster_bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("4096 to 1048576"), "{error}");
    }
    for options in [
        ErofsOptions {
            build_time: -1,
            ..Default::default()
        },
        ErofsOptions {
            label: vec![b'x'; 17],
            ..Default::default()
        },
        ErofsOptions {
            label: b"a\0b".to_vec(),
            ..Default::default()
        },
    ] {
        assert_eq!(check(&options).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    check(&ErofsOptions {
        label: vec![b'x'; 16],
        ..lz4(1 << 20)
    })
    .unwrap();
}
