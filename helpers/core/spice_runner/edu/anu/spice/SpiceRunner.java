package edu.anu.spice;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Runs SPICE 1.0 and writes its scores of each picture.
 *
 * SPICE's own way to write them asks Java for its JavaScript engine, which Java has not had since version 15. This class
 * lets SPICE score, and writes the same JSON without that engine. It lies in SPICE's package because the scorer's
 * constructor is visible there only. Arguments: input.json, output.json, number of threads.
 *
 * Compiled for Java 17 with: javac --release 17 -cp spice-1.0.jar edu/anu/spice/SpiceRunner.java
 */
public final class SpiceRunner {
    public static void main(String[] arguments) throws Exception {
        SpiceScorer scorer = new SpiceScorer();
        scorer.scoreBatch(new SpiceArguments(new String[] {arguments[0], "-threads", arguments[2], "-silent"}));
        Files.write(Path.of(arguments[1]), scorer.stats.toJSONString().getBytes(StandardCharsets.UTF_8));
    }
}
