package ruleset

// ForeignHook is the HookPoint of a base chain read from the kernel that this project would not make: of
// another hook, type or policy than a Hook can say. It differs from every hook that layout asks for, so a
// difference always removes the chain.
const ForeignHook HookPoint = 0xff

// ForeignType is the SetType of a set read from the kernel that this project would not make: of another key
// type, or with flags that a Set cannot say (timeouts, sizes, dynamic updates). Its elements are not read. It
// differs from every type that layout asks for, so a difference always removes the set.
const ForeignType SetType = 0xff
