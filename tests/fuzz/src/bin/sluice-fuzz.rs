//! The fuzzer, and what a person does with what it found.
//!
//! Built with `--cfg fuzzing` (by `scripts/fuzz`) it has no `main` of its own: libFuzzer's calls the target that
//! `SLUICE_FUZZ_TARGET` names. Built as usual it replays files, writes seeds, and chooses from a merge.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod driver {
    use std::sync::OnceLock;

    /// What libFuzzer calls with every input.
    // SAFETY: no other function of this program has the name, and it has the signature that libFuzzer declares.
    #[unsafe(no_mangle)]
    extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> i32 {
        static TARGET: OnceLock<sluice_fuzz::Target> = OnceLock::new();
        let target = TARGET.get_or_init(|| {
            // libFuzzer keeps the input of a process that aborts, not of one that unwinds.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                before(panic);
                std::process::abort();
            }));
            let name = std::env::var("SLUICE_FUZZ_TARGET").unwrap_or_default();
            sluice_fuzz::target(&name).unwrap_or_else(|| panic!("SLUICE_FUZZ_TARGET={name} is no target"))
        });
        // SAFETY: libFuzzer passes `size` readable bytes, which stay as they are until this returns.
        let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
        (target.run)(data);
        0
    }
}

#[cfg(not(fuzzing))]
fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match plain::run(&arguments) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(fuzzing))]
mod plain {
    use std::path::Path;

    const USAGE: &str = "usage: sluice-fuzz TARGET FILE...              replay inputs
       sluice-fuzz --list                     name the targets
       sluice-fuzz --seeds TARGET DIRECTORY   write inputs to begin with
       sluice-fuzz --choose CONTROL N         name at most N files of a libFuzzer merge that reach most";

    fn io(path: &Path, error: &std::io::Error) -> String {
        format!("{}: {error}", path.display())
    }

    /// What the arguments ask for.
    pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["--list"] => sluice_fuzz::TARGETS.iter().for_each(|target| println!("{}", target.name)),
            ["--seeds", target, directory] => {
                for (name, bytes) in sluice_fuzz::seeds::of(target) {
                    let path = Path::new(directory).join(name);
                    std::fs::write(&path, bytes).map_err(|error| io(&path, &error))?;
                }
            }
            ["--choose", control, most] => {
                let most = most.parse().map_err(|_| format!("{most} is no number"))?;
                let text = std::fs::read_to_string(control).map_err(|error| io(control.as_ref(), &error))?;
                sluice_fuzz::choose::choose(&text, most).iter().for_each(|path| println!("{path}"));
            }
            [name, ref files @ ..] if !files.is_empty() => {
                let target =
                    sluice_fuzz::target(name).ok_or_else(|| format!("no target `{name}`\n{USAGE}"))?;
                for file in files {
                    let bytes = std::fs::read(file).map_err(|error| io(file.as_ref(), &error))?;
                    println!("{name} {file}: {} bytes", bytes.len());
                    (target.run)(&bytes);
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
        Ok(())
    }
}
