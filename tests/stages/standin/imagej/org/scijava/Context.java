package org.scijava;

import org.scijava.object.ObjectService;

/** Stand-in for SciJava's, with what scyjava asks of it. */
public class Context {
    public <T> T service(Class<T> type) {
        return type.cast(new ObjectService());
    }
}
