package catalog;

import java.util.Collections;
import java.util.Map;
import org.springframework.dao.DataAccessException;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** Where Spring Boot's actuator has it, for probes: up while the database answers. */
@RestController
public class HealthController {
    private final JdbcTemplate database;

    public HealthController(JdbcTemplate database) {
        this.database = database;
    }

    @GetMapping("/actuator/health")
    public ResponseEntity<Map<String, String>> health() {
        try {
            database.queryForObject("select count(*) from ITEM", Integer.class);
            return ResponseEntity.ok(Collections.singletonMap("status", "UP"));
        } catch (DataAccessException e) {
            return ResponseEntity.status(HttpStatus.SERVICE_UNAVAILABLE).body(Collections.singletonMap("status", "DOWN"));
        }
    }
}
