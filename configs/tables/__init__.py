"""The rows of tables 1 to 3 of the paper, all on CIFAR-10's training split, over `configs/cifar10.py`.

table1_row1.py            E_steps 1, eta_p 2e-4
table1_row2.py            E_steps 2, eta_p 2e-4
table1_row3.py            E_steps 4, eta_p 2e-4
table1_row4.py            E_steps 4, eta_p 4e-4
table1_row5.py            E_steps 4, eta_p 6e-4; also table 2, MPCC (S), and table 3 (a), unconditional
table2_aim_not_shared.py  AIM-MPCC (NS)
table2_aim_shared.py      AIM-MPCC (S)
table3_conditional.py     table 3 (b), conditional

The rows of table 4, on training and test images together, are `configs/mnist.py`, `omniglot100.py`, `fashion_mnist.py`,
`cifar10.py` and `cifar20.py`.
"""
