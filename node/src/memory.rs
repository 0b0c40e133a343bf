//! The process's own memory.

/// Lets memory of a MiB and more go back to the system when it is freed. To be called before any other thread is started.
///
/// A password hash takes 19 MiB for a moment; glibc would take that for the platform's habit and keep as much for every thread that
/// ever hashed.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
pub fn return_large_memory() {
    const LARGE: i32 = 1_024 * 1_024;
    // SAFETY: mallopt takes two numbers and touches nothing of ours.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Other C libraries give large memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub fn return_large_memory() {}
