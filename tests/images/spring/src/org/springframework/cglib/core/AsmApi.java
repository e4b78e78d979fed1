package org.springframework.cglib.core;

/**
 * Stands before the class of this name in Debian's spring-core, which asks for ASM 7 but is packaged with ASM 6.
 */
final class AsmApi {
    private static final int ASM_6 = 6 << 16;

    static int value() {
        return ASM_6;
    }

    private AsmApi() {}
}
