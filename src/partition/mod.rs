//! Partition tables: GPT with its protective or hybrid MBR.
