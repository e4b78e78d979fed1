package catalog;

import java.util.List;
import javax.persistence.EntityManager;
import javax.persistence.PersistenceContext;
import org.springframework.stereotype.Repository;
import org.springframework.transaction.annotation.Transactional;

@Repository
@Transactional
class JpaItemRepository implements ItemRepository {
    @PersistenceContext
    private EntityManager entities;

    @Override
    @Transactional(readOnly = true)
    public List<Item> findAll() {
        return entities.createQuery("select i from Item i order by i.id", Item.class).getResultList();
    }

    @Override
    public Item add(Item item) {
        entities.persist(item);
        entities.flush();  // gives it its id
        return item;
    }
}
