//! The `sluice` command.
fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap_or_default();
    let source = sluice_control::config::read(file.as_ref()).unwrap_or_default();
    match sluice_control::config::load(&file, &source) {
        Ok(c) => println!("{c:#?}"),
        Err(e) => print!("{}", e.render(true)),
    }
}
