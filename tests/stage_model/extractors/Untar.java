import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.util.zip.GZIPInputStream;

/** Extracts a gzipped tar file of regular files with Java's GZIPInputStream: java Untar.java archive folder */
class Untar {
    static String text(byte[] header, int start, int length) {
        return new String(header, start, length, StandardCharsets.UTF_8).split("\0", 2)[0];
    }

    public static void main(String[] arguments) throws Exception {
        try (InputStream stream = new GZIPInputStream(new FileInputStream(arguments[0]))) {
            byte[] header = stream.readNBytes(512);
            for (; header.length == 512 && header[0] != 0; header = stream.readNBytes(512)) {
                if (!text(header, 257, 5).equals("ustar") || header[156] != '0') throw new IOException("no regular file");
                int size = Integer.parseInt(text(header, 124, 12).trim(), 8);
                Path path = Path.of(arguments[1], text(header, 0, 100));
                Files.createDirectories(path.getParent());
                Files.write(path, stream.readNBytes(size));
                stream.skipNBytes((512 - size % 512) % 512);
            }
            stream.transferTo(OutputStream.nullOutputStream()); // verifies the checksum at the end
        }
    }
}
