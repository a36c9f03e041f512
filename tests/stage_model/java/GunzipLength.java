import java.io.*;
import java.util.zip.*;

/** Prints how many bytes GZIPInputStream reads from a file. Compiled with: javac --release 11 GunzipLength.java */
class GunzipLength {
    public static void main(String[] arguments) throws Exception {
        long length = 0;
        byte[] buffer = new byte[65536];
        try (InputStream stream = new GZIPInputStream(new FileInputStream(arguments[0]))) {
            int count;
            while ((count = stream.read(buffer)) >= 0) length += count;
        }
        System.out.println(length);
    }
}
