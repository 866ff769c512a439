package org.jgrapht.graph;

/** Stand-in for JGraphT's: an edge says nothing of itself, the graph does. */
public class DefaultWeightedEdge {}
