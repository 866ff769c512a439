package org.scijava.object;

/** Stand-in for SciJava's, with what scyjava asks of it. */
public class ObjectService {
    public void addObject(Object obj) {}

    public void addObject(Object obj, String name) {}
}
