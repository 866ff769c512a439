package net.imagej;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.scijava.Context;

/** Stand-in for ImageJ2's gateway; it says in a file that it was made, and leaves a thread behind, as ImageJ does. */
public class ImageJ {
    private final Context context = new Context();

    public ImageJ() throws IOException {
        String log = System.getProperty("standin.log");
        if (log != null) {
            String line = ProcessHandle.current().pid() + " " + Runtime.getRuntime().maxMemory()
                    + " " + Runtime.getRuntime().availableProcessors()
                    + " " + System.getProperty("java.awt.headless") + "\n";
            Files.writeString(Path.of(log), line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        }
        new Thread(() -> {
            try {
                Thread.sleep(Long.MAX_VALUE);
            } catch (InterruptedException end) {
                Thread.currentThread().interrupt();
            }
        }).start();
    }

    public Context context() {
        return context;
    }

    public void dispose() {}
}
