//! A wall clock that is wrong for one process, and right for all others.
#![expect(clippy::unwrap_used, reason = "a test that cannot prepare its ground fails")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::lab::Lab;

/// A library that shifts the wall clock of whoever loads it by the seconds that a file holds, and leaves the others alone.
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *path = getenv("SHIFT_FILE");
    if (result == 0 && path && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}
"#;

/// The library, to be preloaded; `None` where no C compiler can make it.
pub(crate) fn library(lab: &Lab) -> Option<PathBuf> {
    lab.write("clock/shift.c", SHIFT);
    let library = lab.path().join("clock/shift.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
    compiler.arg(lab.path().join("clock/shift.c")).arg("-ldl");
    compiler.status().is_ok_and(|status| status.success()).then_some(library)
}

/// What the library reads: shifts the clock of who has loaded it.
pub(crate) fn shift(lab: &Lab, seconds: i64) {
    let (file, new) = (lab.path().join("clock/seconds"), lab.path().join("clock/new"));
    fs::write(&new, seconds.to_string()).unwrap();
    fs::rename(new, file).unwrap();
}
