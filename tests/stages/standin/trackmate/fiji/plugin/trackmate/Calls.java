package fiji.plugin.trackmate;

import java.util.ArrayList;
import java.util.List;

/** Not in TrackMate: what was called, with the Java types of the arguments; a test reads it. */
public class Calls {
    public static final List<String> made = new ArrayList<>();

    static void note(String name, Object... arguments) {
        StringBuilder text = new StringBuilder(name);
        for (Object argument : arguments) {
            text.append(' ').append(argument.getClass().getSimpleName()).append(':').append(argument);
        }
        made.add(text.toString());
    }
}
