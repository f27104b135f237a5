//! The pipeline: options, plan, apply, emit.
