package catalog;

import java.util.List;

/** The items in stock. An interface, so that its transactions need no generated subclass. */
public interface ItemRepository {
    List<Item> findAll();

    /** Stores a new item and returns it with its id. */
    Item add(Item item);
}
