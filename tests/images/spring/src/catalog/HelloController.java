package catalog;

import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** Greets, and tells where from: what its environment and its cgroup give it. */
@RestController
public class HelloController {

    @GetMapping("/hello")
    public Map<String, Object> hello(@RequestParam(defaultValue = "world") String name) {
        Runtime runtime = Runtime.getRuntime();
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("greeting", System.getenv().getOrDefault("GREETING", "Hello") + ", " + name + "!");
        answer.put("host", System.getenv().getOrDefault("HOSTNAME", "unknown"));
        answer.put("java", System.getProperty("java.version"));
        answer.put("processors", runtime.availableProcessors());
        answer.put("maxHeapMiB", runtime.maxMemory() >> 20);
        return answer;
    }
}
