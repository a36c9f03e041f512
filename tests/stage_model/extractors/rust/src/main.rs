use std::{env, fs::File, io};

fn main() -> io::Result<()> {
    let paths: Vec<String> = env::args().skip(1).collect();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&paths[0])?));
    archive.unpack(&paths[1])?;
    io::copy(&mut archive.into_inner(), &mut io::sink())?; // verifies the checksum at the end
    Ok(())
}
