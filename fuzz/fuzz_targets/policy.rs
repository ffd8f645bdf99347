#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mxprobe_fuzz::targets::policy(bytes));
