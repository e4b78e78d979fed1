package catalog;

import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import org.apache.catalina.Context;
import org.apache.catalina.LifecycleException;
import org.apache.catalina.Wrapper;
import org.apache.catalina.startup.Tomcat;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.web.context.WebApplicationContext;
import org.springframework.web.context.support.AnnotationConfigWebApplicationContext;
import org.springframework.web.servlet.DispatcherServlet;

/** Spring MVC in an embedded Tomcat: by hand, what Spring Boot's web starter does. */
public final class CatalogApplication {
    private static final Logger log = LoggerFactory.getLogger(CatalogApplication.class);

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(System.getenv().getOrDefault("SERVER_PORT", "8080"));
        AnnotationConfigWebApplicationContext context = new AnnotationConfigWebApplicationContext();
        context.register(CatalogConfiguration.class);

        Tomcat server = startServer(port, context);
        log.info("Started the catalog on port {}, {} ms after the JVM", port, sinceJvmStart());
        // SIGTERM runs the shutdown hooks: answer what is being answered, then close the database.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(server, context), "shutdown"));
        server.getServer().await();
    }

    private static Tomcat startServer(int port, WebApplicationContext context)
            throws IOException, LifecycleException {
        File scratch = Files.createTempDirectory("tomcat").toFile();
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(scratch.getPath());
        tomcat.setPort(port);
        tomcat.getConnector();  // Tomcat 9 makes its connector only when asked
        Context root = tomcat.addContext("", scratch.getPath());
        Wrapper dispatcher = Tomcat.addServlet(root, "dispatcher", new DispatcherServlet(context));
        dispatcher.setLoadOnStartup(1);
        dispatcher.addMapping("/");
        tomcat.start();
        return tomcat;
    }

    private static void stop(Tomcat server, AnnotationConfigWebApplicationContext context) {
        try {
            server.stop();
            context.close();
            log.info("Stopped");
        } catch (LifecycleException e) {
            log.warn("The server did not stop cleanly", e);
        }
    }

    private static long sinceJvmStart() {
        return System.currentTimeMillis() - ManagementFactory.getRuntimeMXBean().getStartTime();
    }

    private CatalogApplication() {}
}
